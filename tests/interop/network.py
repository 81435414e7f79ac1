"""Network namespaces in which a test can drop all packets between a replica and the vendor.

The addresses are the ones for benchmarks (RFC 2544). They exist only during the run."""

import os
import subprocess


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


class Network:
    """Two namespaces: one for the vendor, and one for the replica that a test cuts off."""

    # Where this process reaches each, and where the replica reaches the vendor.
    vendor_address, replica_address = "198.18.83.2", "198.18.83.6"
    vendor_from_replica = "198.18.83.9"

    def __init__(self):
        self.vendor, self.replica = f"vendor-{os.getpid()}", f"replica-{os.getpid()}"

    def __enter__(self):
        number = os.getpid() % 100000
        try:
            for name in (self.vendor, self.replica):
                ip("netns", "add", name)
                ip("-n", name, "link", "set", "lo", "up")
            self.join(f"gv{number}", "198.18.83.1", self.vendor, self.vendor_address)
            self.join(f"gr{number}", "198.18.83.5", self.replica, self.replica_address)
            ends = ("south", "type", "veth", "peer", "name", "north", "netns", self.replica)
            ip("-n", self.vendor, "link", "add", *ends)
            self.up(self.vendor, "south", self.vendor_from_replica)
            self.up(self.replica, "north", "198.18.83.10")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        # Deleting a namespace also deletes its links.
        for name in (self.vendor, self.replica):
            subprocess.run(["ip", "netns", "del", name], capture_output=True)

    def join(self, link, here, name, there):
        """A link between this process and a namespace."""
        ip("link", "add", link, "type", "veth", "peer", "name", "outside", "netns", name)
        ip("addr", "add", f"{here}/30", "dev", link)
        ip("link", "set", link, "up")
        self.up(name, "outside", there)

    @staticmethod
    def up(name, link, address):
        ip("-n", name, "addr", "add", f"{address}/30", "dev", link)
        ip("-n", name, "link", "set", link, "up")

    def cut(self):
        """Drops all packets from now on. The other end keeps its route, but gets no answer."""
        ip("-n", self.vendor, "link", "set", "south", "down")

    def mend(self):
        ip("-n", self.vendor, "link", "set", "south", "up")


def prefix(namespace):
    """The beginning of a command line that runs a command in a namespace."""
    return ["ip", "netns", "exec", namespace]
