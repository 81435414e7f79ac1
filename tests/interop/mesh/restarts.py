"""Replicas come and go under load: nobody is told an error, and no watcher a status twice or never."""

import asyncio
import contextlib
import random

from mesh.processes import Envoy, Replica, Simulator, until
from mesh.watching import Calls, Watchers

WATCHERS_EACH = 10
LIFE = ("NOT_STARTED", "WAITING", "ACTIVE", "COMPLETE")


def put_lives(simulator, first, seconds):
    """30 lives of about so many seconds, their changes spread over the whole time."""
    chance = random.Random(7)
    sessions = [str(first + number) for number in range(30)]
    for session in sessions:
        # All watchers are there at 5 s. Some changes follow each other quicker than any poll.
        waiting = chance.uniform(5, 0.6 * seconds)
        active = waiting + chance.choice([0.1, chance.uniform(1, 0.3 * seconds)])
        complete = max(active + 0.1, chance.uniform(0.6, 1.0) * seconds)
        simulator.put(session, [
            (0, "notStarted"), (waiting, "waiting"), (active, "active"),
            (complete, "complete"),
        ])
    return sessions


def roll(replicas, envoy):
    """Restarts one replica after the other, as a rollout does. Gives the longest drain."""
    longest = 0
    for replica in replicas:
        status, seconds = replica.terminate()
        assert status == 0, f"{replica.name} ended with {status}"
        longest = max(longest, seconds)
        replica.start()
        until(lambda: envoy.healthy() == len(replicas), "all replicas are healthy")
    return longest


def crash(replicas, envoy):
    """Kills one replica, and another when the first is back."""
    for replica in replicas[:2]:
        replica.kill()
        until(lambda: envoy.healthy() == len(replicas) - 1, "Envoy has noticed")
        replica.start()
        until(lambda: envoy.healthy() == len(replicas), "all replicas are healthy")


async def scene(report, name, simulator, envoy, disturb, first, seconds):
    sessions = put_lives(simulator, first, seconds)
    async with Watchers(envoy.address, sessions, WATCHERS_EACH) as watchers:
        async with Calls(envoy.address, sessions) as calls:
            result = await asyncio.to_thread(disturb, envoy.replicas, envoy)
            broken = sum(watchers.ends.values()) - watchers.ends["OK"]
            await watchers.finish(seconds + 15)
        for each in watchers.all:
            each.expect(*LIFE)
        report.check(f"{name}: no unary error", calls.good > 100 and not calls.errors,
                     f"{calls.good} good calls")
        for error, count in calls.errors.most_common(5):
            report.note(f"{count} × {error}")
        report.histories(f"{name}: each watcher was told each status once", watchers)
        report.check(f"{name}: watches were broken and went on", broken > 50, f"{broken} resumed")
        events = watchers.events()
        stale = events["EVENT_TYPE_STALE"]
        report.check(f"{name}: no watcher was told that anything is stale", not stale)
    return result


async def run(report):
    with contextlib.ExitStack() as stack:
        simulator = stack.enter_context(Simulator())
        replicas = [stack.enter_context(Replica(each, simulator.url)) for each in range(3)]
        envoy = stack.enter_context(Envoy(replicas))
        longest = await scene(report, "rolling restart", simulator, envoy, roll, 810000, 30)
        report.check("rolling restart: each replica is gone within its grace", longest < 12,
                     f"{longest:.1f} s at most, of them 3 s --drain-delay")
        await scene(report, "kill -9", simulator, envoy, crash, 820000, 18)
