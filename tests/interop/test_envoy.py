"""The service behind a real Envoy with `deploy/envoy`: shared polls, rolling restarts, crashes,
mutual TLS, and a network partition. The watchers resume, and the service config retries unary
calls."""

import asyncio
import contextlib
import random
import subprocess

import grpc
import pytest
import yaml

import certificates
from envoy import Envoy, replica
from network import Network, prefix
from processes import Simulator, Vendor, until
from tools import ROOT
from watching import Calls, Watchers, channels, messages, stubs

SERVICE = "spiffe://example.org/ns/support/sa/gotoassist-grpc"
EDGE = "spiffe://example.org/ns/edge/sa/envoy"
OTHER = "spiffe://example.org/ns/edge/sa/envoy-of-somebody-else"


@pytest.fixture(scope="module")
def simulator():
    with Simulator("--rate-limit", "0") as simulator:
        yield simulator


@contextlib.contextmanager
def three_replicas(vendor, *arguments):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(replica(each, vendor, *arguments)) for each in range(3)]


def assert_histories(watchers):
    assert not watchers.problems(), f"streams ended: {dict(watchers.ends)}"


def round_robin(cluster):
    cluster["lb_policy"] = "ROUND_ROBIN"
    del cluster["ring_hash_lb_config"]


async def polls_a_second(simulator, envoy, sessions):
    """Upstream requests a second with ten watchers of each session, once all watches have begun."""
    # One replica polls 30 times a second. Over this time the jitter is far below 10 %.
    seconds = 8
    async with Watchers(envoy.address, sessions, 10) as watchers:
        await asyncio.to_thread(simulator.reset_counters)
        await asyncio.sleep(seconds)
        counters = await asyncio.to_thread(simulator.counters)
        assert_histories(watchers)
        return counters["requests"] / seconds


def test_ring_hash_on_the_session_id_shares_polls(simulator, scratch, note):
    """All watchers of a session share one replica's poll, if the ring hash gets the session."""
    sessions = [f"80{number:04}" for number in range(30)]
    for session in sessions:
        simulator.put(session, (-10, "waiting"), (-5, "active"))
    with three_replicas(simulator) as replicas:
        with Envoy(replicas[:1], scratch, name="envoy-one") as envoy:
            one = asyncio.run(polls_a_second(simulator, envoy, sessions))
        with Envoy(replicas, scratch) as envoy:
            ring = asyncio.run(polls_a_second(simulator, envoy, sessions))
        with Envoy(replicas, scratch, round_robin, name="envoy-round-robin") as envoy:
            spread = asyncio.run(polls_a_second(simulator, envoy, sessions))
    note(
        f"polls a second: one replica {one:.1f}, three by ring hash {ring:.1f}, "
        f"three by round robin {spread:.1f}"
    )
    assert ring <= 1.1 * one
    assert spread >= 2.5 * one, "without the ring each replica polls by itself"


def put_lives(simulator, first, seconds):
    """Adds 30 sessions whose changes are spread over this many seconds."""
    chance = random.Random(7)
    sessions = [str(first + number) for number in range(30)]
    for session in sessions:
        # By 5 s all watches have begun. Some changes follow each other faster than the polls.
        waiting = chance.uniform(5, 0.6 * seconds)
        active = waiting + chance.choice([0.1, chance.uniform(1, 0.3 * seconds)])
        complete = max(active + 0.1, chance.uniform(0.6, 1.0) * seconds)
        steps = [(0, "notStarted"), (waiting, "waiting"), (active, "active")]
        simulator.put(session, *steps, (complete, "complete"))
    return sessions


async def disturbed(simulator, envoy, disturb, first, seconds):
    """Runs watches and calls while `disturb` stops replicas. No call fails, and each watcher gets
    each status exactly once. Returns the result of `disturb`, and how many streams broke."""
    sessions = put_lives(simulator, first, seconds)
    async with Watchers(envoy.address, sessions, 10) as watchers:
        async with Calls(envoy.address, sessions) as calls:
            result = await asyncio.to_thread(disturb, envoy.replicas, envoy)
            broken = watchers.broken()
            await watchers.finish(seconds + 15)
        for each in watchers.all:
            each.expect("NOT_STARTED", "WAITING", "ACTIVE", "COMPLETE")
        assert calls.good > 100
        assert not calls.errors
        assert_histories(watchers)
        assert broken > 50, "many streams must break for the test to mean anything"
        assert not watchers.events()["EVENT_TYPE_STALE"]
    return result, broken


def roll(replicas, envoy):
    """Restarts one replica after the other, as a rollout does. Returns the longest drain."""
    longest = 0
    for each in replicas:
        status, seconds = each.terminate()
        assert status == 0, f"{each.name} ended with {status}"
        longest = max(longest, seconds)
        each.start()
        until("all replicas are healthy", lambda: envoy.healthy() == len(replicas))
    return longest


def test_rolling_restart(simulator, scratch, note):
    with three_replicas(simulator) as replicas, Envoy(replicas, scratch) as envoy:
        longest, broken = asyncio.run(disturbed(simulator, envoy, roll, 810000, 30))
    note(f"{broken} streams resumed; longest drain {longest:.1f} s, of them 3 s --drain-delay")
    assert longest < 12, "each replica ends within its grace"


def crash(replicas, envoy):
    """Kills one replica, and then another one after the first has restarted."""
    for each in replicas[:2]:
        each.kill()
        until("Envoy has noticed", lambda: envoy.healthy() == len(replicas) - 1)
        each.start()
        until("all replicas are healthy", lambda: envoy.healthy() == len(replicas))


def test_kill_9(simulator, scratch, note):
    with three_replicas(simulator) as replicas, Envoy(replicas, scratch) as envoy:
        _, broken = asyncio.run(disturbed(simulator, envoy, crash, 820000, 18))
    note(f"{broken} streams resumed")


@pytest.fixture(scope="module")
def tls(scratch):
    """A folder with authorities, and with certificates whose only name is a SPIFFE identity."""
    folder = scratch / "tls"
    folder.mkdir()
    certificates.self_signed(folder, "ca")
    certificates.self_signed(folder, "stranger-ca")
    certificates.workload(folder, "service", SERVICE, "ca")
    certificates.workload(folder, "edge", EDGE, "ca")
    certificates.workload(folder, "other", OTHER, "ca")
    certificates.workload(folder, "stranger", EDGE, "stranger-ca")
    for secret in ("client-secret", "refresh-token"):
        (folder / secret).write_text("for-the-simulator\n")
    return folder


@pytest.fixture(scope="module")
def tls_simulator():
    """A separate vendor, because the test reads from its counters which credentials it got."""
    with Simulator("--rate-limit", "0") as simulator:
        yield simulator


@pytest.fixture(scope="module")
def tls_replicas(tls, tls_simulator):
    arguments = [
        *("--credentials", "service", "--client-id", "mesh"),
        *("--client-secret-file", tls / "client-secret"),
        *("--refresh-token-file", tls / "refresh-token"),
        *("--token-url", f"{tls_simulator.url}/oauth/token"),
        *("--tls-cert", tls / "service.crt", "--tls-key", tls / "service.key"),
        *("--client-ca", tls / "ca.crt", "--allow-client", EDGE),
    ]
    with three_replicas(tls_simulator, *arguments) as replicas:
        yield replicas


def mutual_tls(tls, client, service):
    """`deploy/envoy/upstream-mtls.yaml` with these files and this identity of the replicas."""

    def change(cluster):
        document = yaml.safe_load((ROOT / "deploy/envoy/upstream-mtls.yaml").read_text())
        context = document["transport_socket"]["typed_config"]["common_tls_context"]
        [own] = context["tls_certificates"]
        own["certificate_chain"]["filename"] = str(tls / f"{client}.crt")
        own["private_key"]["filename"] = str(tls / f"{client}.key")
        context["validation_context"]["trusted_ca"]["filename"] = str(tls / "ca.crt")
        [name] = context["validation_context"]["match_typed_subject_alt_names"]
        name["matcher"]["exact"] = service
        cluster.update(document)

    return change


class NeverHealthy(Envoy):
    """An Envoy that cannot reach its replicas."""

    def is_ready(self):
        health = self.health()
        return len(health) == len(self.replicas) and all(health.values())


async def call(envoy):
    """The status of a call through Envoy without a credential."""
    [channel] = channels(envoy.address, 1)
    async with channel:
        stub = stubs.RemoteSupportServiceStub(channel)
        try:
            await stub.GetSession(messages.GetSessionRequest(session_id="250040303"), timeout=5)
        except grpc.aio.AioRpcError as error:
            return error.code().name
        return "OK"


@pytest.mark.parametrize(
    ("kind", "client", "service", "code"),
    [
        pytest.param(Envoy, "edge", SERVICE, "OK", id="right identity"),
        pytest.param(Envoy, "other", SERVICE, "PERMISSION_DENIED", id="other identity"),
        pytest.param(NeverHealthy, "stranger", SERVICE, "UNAVAILABLE", id="other authority"),
        pytest.param(NeverHealthy, "edge", OTHER, "UNAVAILABLE", id="replica's other identity"),
    ],
)
def test_mutual_tls(tls, tls_simulator, tls_replicas, scratch, kind, client, service, code):
    with kind(tls_replicas, scratch, mutual_tls(tls, client, service)) as envoy:
        assert asyncio.run(call(envoy)) == code
    seen = set(tls_simulator.counters()["byCredential"])
    assert seen <= {"mesh@example.com"}, "GoToAssist sees the service's own credential only"
    assert seen or code != "OK"


@pytest.fixture
def network():
    try:
        with Network() as network:
            yield network
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", "") or str(error)
        pytest.skip(f"no network namespaces here: {reason.strip()}")


async def cut_off(network, simulator, envoy, replica, sessions):
    """Cuts a replica off from GoToAssist, and later reconnects it. Returns the watchers, how many
    of them the replica served, and how many replicas Envoy sent calls to in the meantime."""
    async with Watchers(envoy.address, sessions, 2) as watchers:
        served = await asyncio.to_thread(
            until, "watches are counted", lambda: int(replica.metric("gotoassist_watches"))
        )
        network.cut()
        await asyncio.to_thread(
            *(until, "its watchers get STALE"),
            *(lambda: watchers.received("EVENT_TYPE_STALE") == served, 15),
        )
        healthy = await asyncio.to_thread(envoy.healthy)
        network.mend()
        await watchers.finish(40)
    return watchers, served, healthy


def test_partition(network, scratch, note):
    """A replica that is cut off from GoToAssist sends STALE to its watchers, and later recovers.

    Packets between the replica and the vendor are dropped. Packets between it and Envoy are not."""
    sessions = [f"83{number:04}" for number in range(30)]
    quick = ["--upstream-timeout", "1s", "--upstream-connect-timeout", "1s"]
    with contextlib.ExitStack() as stack:
        simulator = Simulator(
            *("--rate-limit", "0"),
            host=network.vendor_address,
            listen="0.0.0.0",
            prefix=prefix(network.vendor),
        )
        stack.enter_context(simulator)
        for session in sessions:
            simulator.put(session, (-10, "waiting"), (20, "active"), (24, "complete"))
        north = Vendor(f"http://{network.vendor_from_replica}:{simulator.port}")
        lonely = replica(
            *(0, north, *quick, "--trust-network"),
            host=network.replica_address,
            prefix=prefix(network.replica),
        )
        replicas = [stack.enter_context(lonely)]
        replicas += [stack.enter_context(replica(each, simulator, *quick)) for each in (1, 2)]
        envoy = stack.enter_context(Envoy(replicas, scratch))
        scene = cut_off(network, simulator, envoy, lonely, sessions)
        watchers, served, healthy = asyncio.run(scene)
    for each in watchers.all:
        each.expect("WAITING", "ACTIVE", "COMPLETE")
    note(f"{served} of {len(watchers.all)} watchers got STALE")
    assert watchers.received("EVENT_TYPE_STALE") == served > 0, "only its watchers got STALE"
    # If the vendor were down, the other replicas could not reach it either.
    assert healthy == 3, "Envoy keeps sending calls to the replica"
    assert_histories(watchers)
    assert watchers.broken() == 0
