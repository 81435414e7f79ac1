"""A replica that is cut off from GoToAssist says so to its watchers, and recovers by itself.

In network namespaces, and skipped where the system does not allow them: the packets between one
replica and the vendor vanish, those between it and Envoy do not. The addresses are those for
benchmarks (RFC 2544), and exist inside of the run only.
"""

import asyncio
import contextlib
import os
import subprocess

from mesh.processes import Envoy, Replica, Simulator, until
from mesh.watching import Watchers

SESSIONS = [f"83{number:04}" for number in range(30)]
QUICK = ["--upstream-timeout", "1s", "--upstream-connect-timeout", "1s"]


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


class Network:
    """Two namespaces: the vendor's, and that of the replica to be cut off."""

    def __init__(self):
        self.vendor, self.replica = f"vendor-{os.getpid()}", f"replica-{os.getpid()}"

    def __enter__(self):
        number = os.getpid() % 100000
        try:
            for name in (self.vendor, self.replica):
                ip("netns", "add", name)
                ip("-n", name, "link", "set", "lo", "up")
            self.join(f"gv{number}", "198.18.83.1", self.vendor, "198.18.83.2")
            self.join(f"gr{number}", "198.18.83.5", self.replica, "198.18.83.6")
            ip("-n", self.vendor, "link", "add", "south", "type", "veth", "peer", "name", "north",
               "netns", self.replica)
            self.up(self.vendor, "south", "198.18.83.9")
            self.up(self.replica, "north", "198.18.83.10")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        # The links go with their namespaces.
        for name in (self.vendor, self.replica):
            subprocess.run(["ip", "netns", "del", name], capture_output=True)

    def join(self, link, here, name, there):
        ip("link", "add", link, "type", "veth", "peer", "name", "outside", "netns", name)
        ip("addr", "add", f"{here}/30", "dev", link)
        ip("link", "set", link, "up")
        self.up(name, "outside", there)

    @staticmethod
    def up(name, link, address):
        ip("-n", name, "addr", "add", f"{address}/30", "dev", link)
        ip("-n", name, "link", "set", link, "up")

    def cut(self):
        """From now on packets vanish: the other end keeps its route, and nobody answers."""
        ip("-n", self.vendor, "link", "set", "south", "down")

    def mend(self):
        ip("-n", self.vendor, "link", "set", "south", "up")


def prefix(name):
    return ["ip", "netns", "exec", name]


def told(watchers, event):
    """How many watchers were told this at least once."""
    return sum(1 for each in watchers.all if each.events[event])


async def run(report):
    with contextlib.ExitStack() as stack:
        try:
            network = stack.enter_context(Network())
        except (OSError, subprocess.CalledProcessError) as error:
            reason = getattr(error, "stderr", "") or str(error)
            return report.skip("partition", f"no network namespaces here: {reason.strip()}")
        vendor = Simulator(host="198.18.83.2", listen="0.0.0.0", prefix=prefix(network.vendor))
        simulator = stack.enter_context(vendor)
        for session in SESSIONS:
            simulator.put(session, [(-10, "waiting"), (20, "active"), (24, "complete")])
        arguments = [*QUICK, "--trust-network"]
        cut_off = Replica(0, f"http://198.18.83.9:{simulator.port}", *arguments, host="198.18.83.6",
                          prefix=prefix(network.replica))
        replicas = [stack.enter_context(cut_off)]
        replicas += [stack.enter_context(Replica(each, simulator.url, *QUICK)) for each in (1, 2)]
        envoy = stack.enter_context(Envoy(replicas))
        async with Watchers(envoy.address, SESSIONS, 2) as watchers:
            expected = await asyncio.to_thread(
                until, lambda: int(cut_off.metric("gotoassist_watches")), "watches are counted")
            network.cut()
            stale = lambda: told(watchers, "EVENT_TYPE_STALE") == expected
            await asyncio.to_thread(until, stale, "its watchers are told STALE", 15)
            healthy = await asyncio.to_thread(envoy.healthy)
            network.mend()
            await watchers.finish(40)
        for each in watchers.all:
            each.expect("WAITING", "ACTIVE", "COMPLETE")
        count = told(watchers, "EVENT_TYPE_STALE")
        report.check("partition: the watchers of the replica that is cut off are told STALE",
                     count == expected > 0, f"{count} of {len(watchers.all)}, and nobody else")
        report.check("partition: it keeps its calls; the others would be no nearer to a vendor "
                     "that is down", healthy == 3, f"{healthy} healthy")
        report.histories("partition: mended, every watch went on to its end", watchers)
        broken = sum(watchers.ends.values()) - watchers.ends["OK"]
        report.check("partition: no stream was broken", broken == 0)
