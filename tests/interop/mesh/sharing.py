"""All watchers of a session share one replica's poll, if the ring sees the session's name."""

import asyncio
import contextlib

from mesh.processes import Envoy, Replica, Simulator
from mesh.watching import Watchers

SESSIONS = [f"80{number:04}" for number in range(30)]
WATCHERS_EACH = 10
# 30 polls a second of one replica; at this length their jitter is far below the 10 % in question.
SECONDS = 8


def round_robin(cluster):
    cluster["lb_policy"] = "ROUND_ROBIN"
    del cluster["ring_hash_lb_config"]


async def polls(simulator, envoy):
    """Upstream requests a second for all watchers, once each of them is served."""
    async with Watchers(envoy.address, SESSIONS, WATCHERS_EACH) as watchers:
        await asyncio.to_thread(simulator.reset_counters)
        await asyncio.sleep(SECONDS)
        counters = await asyncio.to_thread(simulator.counters)
        assert not watchers.problems(), watchers.problems()
        return counters["requests"] / SECONDS


async def run(report):
    with contextlib.ExitStack() as stack:
        simulator = stack.enter_context(Simulator())
        for session in SESSIONS:
            simulator.put(session, [(-10, "waiting"), (-5, "active")])
        replicas = [stack.enter_context(Replica(each, simulator.url)) for each in range(3)]
        with Envoy(replicas[:1], name="envoy-one") as envoy:
            one = await polls(simulator, envoy)
        with Envoy(replicas) as envoy:
            ring = await polls(simulator, envoy)
        with Envoy(replicas, round_robin, name="envoy-round-robin") as envoy:
            spread = await polls(simulator, envoy)
    count = len(SESSIONS) * WATCHERS_EACH
    report.note(f"{count} watchers of {len(SESSIONS)} sessions; polls a second: one replica "
                f"{one:.1f}, three by ring hash {ring:.1f}, three by round robin {spread:.1f}")
    report.check("ring hash on session-id shares polls (≤ 1.1)", ring <= 1.1 * one,
                 f"{ring / one:.2f} × one replica's")
    report.check("without it each replica polls by itself (≥ 2.5)", spread >= 2.5 * one,
                 f"{spread / one:.2f} × one replica's")
