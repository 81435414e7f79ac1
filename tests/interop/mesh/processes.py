"""The programs of a run: simulator, replicas, Envoy. Started, asked and ended only here."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import time
import urllib.request

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[3]
BINARY, ENVOY = os.environ["INTEROP_BINARY"], os.environ["MESH_ENVOY"]
RUN = pathlib.Path(os.environ["MESH_RUN"])
LIMIT = 30


def free_ports(count):
    """Ports that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def until(fact, what, limit=LIMIT):
    """Waits for `fact()` to be true; gives its value."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        try:
            if value := fact():
                return value
        except OSError:
            pass
        time.sleep(0.05)
    raise TimeoutError(f"{what}: not within {limit} s")


def http(method, url, body=None):
    """JSON in, JSON out."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, method=method)
    with urllib.request.urlopen(request, timeout=5) as answer:
        text = answer.read()
    return json.loads(text) if text else None


class Program:
    """A process with its output in a file; gone when the `with` block ends."""

    def __init__(self, name, command):
        self.name, self.command, self.process = name, command, None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()

    def start(self):
        with open(RUN / f"{self.name}.log", "ab") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            until(self.is_up, f"{self.name} is up")
        except Exception:
            self.kill()
            raise

    def is_up(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.name} ended with {self.process.returncode}; see its log")
        return self.is_ready()

    def terminate(self):
        """SIGTERM. Gives the exit status and the seconds it took."""
        begin = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(LIMIT), time.monotonic() - begin

    def kill(self):
        """SIGKILL."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait(LIMIT)


class Simulator(Program):
    """GoToAssist, played by the service's own binary."""

    def __init__(self, host="127.0.0.1", listen=None, prefix=()):
        [self.port] = free_ports(1)
        self.url = f"http://{host}:{self.port}"
        arguments = ["simulate", "--listen", f"{listen or host}:{self.port}", "--rate-limit", "0"]
        super().__init__("simulator", [*prefix, BINARY, *arguments])

    def is_ready(self):
        return self.counters()

    def counters(self):
        return http("GET", f"{self.url}/control/counters")

    def reset_counters(self):
        http("DELETE", f"{self.url}/control/counters")

    def put(self, session, steps):
        """A session's life: pairs of seconds from now and status."""
        steps = [{"at": at, "status": status} for at, status in steps]
        http("PUT", f"{self.url}/control/sessions/{session}", {"steps": steps})


class Replica(Program):
    """One replica of the service; keeps its ports over restarts."""

    def __init__(self, number, vendor, *arguments, host="127.0.0.1", prefix=()):
        self.host = host
        self.port, self.admin = free_ports(2)
        defaults = {
            "--listen": f"{host}:{self.port}",
            "--admin-listen": f"{host}:{self.admin}",
            "--upstream-url": f"{vendor}/G2A/rest/v1",
            # The simulator has no limit here, and the polls are quick to keep the run short.
            "--upstream-rps": "200",
            "--upstream-burst": "200",
            "--poll-not-started": "1s",
            "--poll-waiting": "1s",
            "--poll-active": "1s",
            "--drain-grace": "12s",
            "--log-ok-calls": "0",
        }
        words = [word for pair in defaults.items() if pair[0] not in arguments for word in pair]
        command = [*prefix, BINARY, "serve", *words, *arguments]
        super().__init__(f"replica-{number}", command)

    def is_ready(self):
        with urllib.request.urlopen(f"http://{self.host}:{self.admin}/readyz", timeout=2) as answer:
            return answer.status < 300

    def metric(self, name):
        """The sum of a metric's samples."""
        url = f"http://{self.host}:{self.admin}/metrics"
        with urllib.request.urlopen(url, timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


class Envoy(Program):
    """Envoy with `deploy/envoy/envoy.yaml`; only addresses are changed, and what a test adds."""

    def __init__(self, replicas, change=lambda cluster: None, name="envoy"):
        self.replicas = replicas
        self.port, self.admin = free_ports(2)
        document = yaml.safe_load((ROOT / "deploy/envoy/envoy.yaml").read_text())
        document["admin"]["address"]["socket_address"]["port_value"] = self.admin
        resources = document["static_resources"]
        resources["listeners"][0]["address"]["socket_address"] = {
            "address": "127.0.0.1",
            "port_value": self.port,
        }
        cluster = resources["clusters"][0]
        cluster["load_assignment"]["endpoints"][0]["lb_endpoints"] = [
            {"endpoint": {"address": {"socket_address": {
                "address": each.host, "port_value": each.port}}}}
            for each in replicas
        ]
        change(cluster)
        path = RUN / f"{name}.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        options = ["--disable-hot-restart", "--concurrency", "2", "--log-level", "warning"]
        super().__init__(name, [ENVOY, "-c", str(path), *options])

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def is_ready(self):
        return self.healthy() == len(self.replicas)

    def healthy(self):
        """How many replicas Envoy sends calls to."""
        return sum(not each for each in self.health().values())

    def health(self):
        """What is wrong with each replica, by its port."""
        [cluster] = http("GET", f"http://127.0.0.1:{self.admin}/clusters?format=json")[
            "cluster_statuses"
        ]
        return {
            host["address"]["socket_address"]["port_value"]: {
                flag for flag, value in host["health_status"].items() if value is True
            }
            for host in cluster.get("host_statuses", [])
        }

    def stat(self, name):
        """One of Envoy's counters."""
        url = f"http://127.0.0.1:{self.admin}/stats?format=json&filter={name}"
        return sum(each.get("value", 0) for each in http("GET", url)["stats"])
