"""A Python client on a Unix socket, with and without the option that it needs there."""

import pytest

import clients
from processes import Service
from tools import binary, run

# Calls grpc.health.v1 with the channel options of the command line.
HEALTH = """
import sys

import grpc

target, *options = sys.argv[1:]
channel = grpc.insecure_channel(target, [option.split("=", 1) for option in options])
check = channel.unary_unary("/grpc.health.v1.Health/Check")
try:
    print("answer", check(b"", timeout=10))
except grpc.RpcError as error:
    sys.exit(f"{error.code().name}: {error.details()}")
"""


@pytest.fixture(scope="module")
def address(simulator, scratch):
    with Service(simulator, "--drain-delay", "0s", listen=f"unix:{scratch}/grpc.sock") as service:
        yield service.address


def health(*arguments):
    clients.build("python")
    return run(clients.PYTHON, "-c", HEALTH, *arguments)


def test_grpcio_with_a_default_authority(address):
    health(address, "grpc.default_authority=localhost").expect(0, "answer b'\\x08\\x01'")


def test_grpcio_without_it_is_refused_by_http_2(address):
    """If this call succeeds one day, docs/calling.md no longer needs the option."""
    health(address).expect(1, "INTERNAL")


def test_own_client(address):
    binary("health", "--server", address).expect(0, "SERVING")
