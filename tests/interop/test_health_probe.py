"""The real grpc-health-probe, which older Kubernetes and Docker health checks use."""

import pytest

from processes import Service, free_port
from tools import go_program, run

SERVICE = "gotoassist.remotesupport.v1.RemoteSupportService"


def probe(address, *arguments):
    program = go_program("github.com/grpc-ecosystem/grpc-health-probe", "v0.4.61")
    return run(program, "-addr", address, *arguments)


@pytest.mark.parametrize("name", [[], ["-service", SERVICE]], ids=["server", "API"])
def test_healthy_service(demo, name):
    probe(demo.address, *name).expect(0, "status: SERVING")


def test_name_that_nobody_serves(demo):
    call_failed = 3
    probe(demo.address, "-service", "nobody").expect(call_failed, "NotFound")


def test_address_where_nobody_listens():
    no_connection = 2
    probe(f"127.0.0.1:{free_port()}", "-connect-timeout", "2s").expect(no_connection)


def test_service_on_a_unix_socket_says_not_serving_while_it_drains(simulator, scratch):
    flags = ["--drain-delay", "30s", "--drain-grace", "60s"]
    with Service(simulator, *flags, listen=f"unix:{scratch}/grpc.sock") as service:
        probe(service.address).expect(0)
        service.drain()
        unhealthy = 4
        probe(service.address, "-service", SERVICE).expect(unhealthy, "NOT_SERVING")
