"""GoToAssist's callbacks through a real Envoy with `deploy/envoy/callback.yaml`. Envoy speaks TLS,
lets through one path only, sends a copy to each replica, and never logs the secret."""

import contextlib
import ssl
import urllib.error
import urllib.request

import pytest
import yaml

import certificates
from envoy import install, replica, socket_address
from processes import Program, Simulator, free_port, http, until
from tools import ROOT

SECRET = "a-secret-of-a-callback-0123456789"
PATH = f"/callbacks/session-status/{SECRET}"


class CallbackEnvoy(Program):
    """Envoy with `deploy/envoy/callback.yaml`. Only addresses and files change."""

    def __init__(self, replicas, folder):
        port, self.admin = free_port(), free_port()
        self.url = f"https://localhost:{port}"
        document = yaml.safe_load((ROOT / "deploy/envoy/callback.yaml").read_text())
        document["admin"]["address"]["socket_address"]["port_value"] = self.admin
        resources = document["static_resources"]
        [listener] = resources["listeners"]
        listener["address"] = socket_address("127.0.0.1", port)
        [chain] = listener["filter_chains"]
        [certificate] = chain["transport_socket"]["typed_config"]["common_tls_context"][
            "tls_certificates"
        ]
        certificate["certificate_chain"]["filename"] = str(folder / "tls.crt")
        certificate["private_key"]["filename"] = str(folder / "tls.key")
        for cluster, each in zip(resources["clusters"], replicas, strict=True):
            [endpoints] = cluster["load_assignment"]["endpoints"]
            address = callback_address(each).split(":")
            endpoints["lb_endpoints"] = [{"endpoint": {"address": socket_address(*address)}}]
        path = folder / "callback.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        # At this level Envoy logs more of a request than it would in production.
        options = ["--disable-hot-restart", "--concurrency", "2", "--log-level", "info"]
        super().__init__("envoy-callback", install(), "-c", path, *options)

    def is_ready(self):
        return http("GET", f"http://127.0.0.1:{self.admin}/ready").strip() == "LIVE"


def callback_address(service):
    [serving] = [each for each in service.records() if each.get("message") == "serving"]
    return serving["callback"]


@pytest.fixture(scope="module")
def world(scratch):
    """Three replicas that watch nothing, behind Envoy."""
    certificates.self_signed(scratch, "tls", "-addext", "subjectAltName=DNS:localhost")
    secrets = scratch / "callback-secrets"
    secrets.write_text(f"{SECRET}\n")
    flags = ["--callback-listen", "127.0.0.1:0", "--callback-secret-file", secrets]
    with contextlib.ExitStack() as stack:
        simulator = stack.enter_context(Simulator())
        replicas = [stack.enter_context(replica(each, simulator, *flags)) for each in range(3)]
        envoy = stack.enter_context(CallbackEnvoy(replicas, scratch))
        yield replicas, envoy, scratch


def ask(envoy, folder, path, method="POST", body=b"sessionId=1"):
    """The status of the answer, and its body."""
    context = ssl.create_default_context(cafile=folder / "tls.crt")
    request = urllib.request.Request(f"{envoy.url}{path}", body, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10, context=context) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def counts(replicas, result):
    name = f'gotoassist_callbacks_total{{result="{result}"}}'
    return [each.metric(name) for each in replicas]


def test_a_callback_reaches_every_replica_and_its_secret_no_log(world):
    replicas, envoy, folder = world
    for session in range(10):
        assert ask(envoy, folder, PATH, body=f"sessionId={session}".encode()) == (204, b"")
    until("all have it", lambda: counts(replicas, "accepted") == [10, 10, 10])
    for each in [envoy, *replicas]:
        assert SECRET not in each.log.read_text(errors="replace")


def test_a_large_body_is_still_a_204(world):
    replicas, envoy, folder = world
    assert ask(envoy, folder, PATH, body=b"x" * 100_000) == (204, b"")
    until("all have it", lambda: counts(replicas, "too_large") == [1, 1, 1])


def test_nothing_but_callbacks_gets_through(world):
    replicas, envoy, folder = world
    for path, method in [
        ("/", "POST"),
        ("/metrics", "GET"),
        ("/callbacks/session-status", "POST"),
        ("/callbacks/session-status/../../metrics", "POST"),
        (PATH, "GET"),
        (PATH, "PUT"),
    ]:
        assert ask(envoy, folder, path, method) == (404, b""), f"{method} {path}"
    assert ask(envoy, folder, "/callbacks/session-status%2F..", "POST")[0] in (400, 404)
    assert counts(replicas, "wrong_path") == counts(replicas, "wrong_method") == [0, 0, 0]
    assert ask(envoy, folder, "/callbacks/session-status/wrong") == (404, b"")
    until("the replicas refuse it", lambda: counts(replicas, "wrong_secret") == [1, 1, 1])
