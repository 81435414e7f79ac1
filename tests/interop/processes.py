"""Processes that a test starts, asks and stops: the simulator, the service, and any other."""

import itertools
import json
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

from tools import BINARY, ENVIRONMENT, ROOT

LOGS = tempfile.TemporaryDirectory(prefix="interop-")
NUMBERS = itertools.count(1)
# The programs whose logs are shown if a test fails now.
STARTED = []


def free_port():
    """A port of the loopback address that no program listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def until(what, fact, seconds=30):
    """Waits until `fact()` is true and returns its value. A failed connection counts as false."""
    end = time.monotonic() + seconds
    while True:
        try:
            if value := fact():
                return value
        except OSError:
            pass
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(0.05)


def http(method, url, body=None):
    """Sends JSON, and returns the body of the response."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(url, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=10) as response:
        return response.read().decode()


class Program:
    """A process whose output goes to a file. It runs in a `with` block, and can restart there."""

    def __init__(self, name, *command, environment=ENVIRONMENT):
        self.name, self.command, self.environment = name, command, environment
        self.log = pathlib.Path(LOGS.name) / f"{next(NUMBERS)}-{name}.log"
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()

    def start(self):
        """Starts the process and waits until it is ready."""
        if self not in STARTED:
            STARTED.append(self)
        with open(self.log, "ab") as log:
            self.begin = log.tell()
            self.process = subprocess.Popen(
                list(map(str, self.command)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=self.environment,
            )
        try:
            until(f"{self.name} is ready", self.has_started)
        except BaseException:
            self.kill()
            raise

    def has_started(self):
        if not self.is_running():
            raise RuntimeError(f"{self.name} ended with {self.process.returncode}:\n{self.tail()}")
        return self.is_ready()

    def is_ready(self):
        return True

    def is_running(self):
        return self.process.poll() is None

    def terminate(self):
        """Sends SIGTERM. Returns the exit status and how many seconds the end took."""
        begin = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60), time.monotonic() - begin

    def kill(self):
        """Sends SIGKILL."""
        if self.process and self.is_running():
            self.process.kill()
            self.process.wait(30)

    def output(self):
        """The output since the last start."""
        return self.log.read_bytes()[self.begin :].decode(errors="replace")

    def tail(self):
        """The last lines of the output, including those before a restart."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-40:])


class Vendor:
    """The control API of a simulated GoToAssist."""

    def __init__(self, url):
        self.url = url

    def control(self, method, path, body=None):
        text = http(method, f"{self.url}/control/{path}", body)
        return json.loads(text) if text else None

    def put(self, session, *steps, **fields):
        """Adds a session. Each step is a pair: seconds from now, and the new status."""
        steps = [{"at": at, "status": status} for at, status in steps]
        self.control("PUT", f"sessions/{session}", {"steps": steps, "fields": fields})

    def fail(self, session, fault, **limits):
        """Makes requests for a session fail."""
        self.control("POST", "faults", {"fault": fault, "sessionId": session, **limits})

    def mend(self):
        self.control("DELETE", "faults")

    def counters(self):
        return self.control("GET", "counters")

    def reset_counters(self):
        self.control("DELETE", "counters")


class Simulator(Program, Vendor):
    """`simulate` on a port of its own."""

    def __init__(self, *arguments, host="127.0.0.1", listen="127.0.0.1", prefix=()):
        command = [*prefix, BINARY, "simulate", "--listen", f"{listen}:0", *arguments]
        super().__init__("simulator", *command)
        self.host, self.port, self.url = host, None, None

    def is_ready(self):
        if found := re.search(r"http://\S+:(\d+)/G2A", self.output()):
            self.port = found[1]
            self.url = f"http://{self.host}:{self.port}"
        return found


class Service(Program):
    """`serve`. It keeps its addresses when it restarts."""

    def __init__(
        self, vendor, *arguments, host="127.0.0.1", listen=None, prefix=(), name="service"
    ):
        super().__init__(name)
        self.vendor, self.arguments, self.prefix = vendor, arguments, prefix
        self.address, self.admin = listen or f"{host}:0", f"{host}:0"

    def start(self):
        addresses = ["--listen", self.address, "--admin-listen", self.admin]
        upstream = ["--upstream-url", f"{self.vendor.url}/G2A/rest/v1"]
        log = ["--log-format", "json", "--log-level", "info"]
        self.command = [*self.prefix, BINARY, "serve", *addresses, *upstream, *log, *self.arguments]
        super().start()

    def is_ready(self):
        serving = [each for each in self.records() if each.get("message") == "serving"]
        if serving:
            self.address, self.admin = serving[0]["address"], serving[0]["admin"]
        return serving and self.ask_admin("readyz")

    @property
    def port(self):
        return int(self.address.rsplit(":", 1)[1])

    def records(self):
        """What it has logged since its last start."""
        # The text after the last line feed is not a complete line yet.
        lines = self.output().split("\n")[:-1]
        return [json.loads(line) for line in lines if line.startswith("{")]

    def calls(self, since="serving"):
        """The calls that it has logged, all or those after a message."""
        messages = [each.get("message", "") for each in self.records()]
        first = next(i for i, message in enumerate(messages) if message.startswith(since))
        return [each for each in self.records()[first:] if each.get("message") == "call ended"]

    def drain(self):
        """Sends SIGTERM and waits until the service says that it drains."""
        self.process.send_signal(signal.SIGTERM)
        until("the service drains", lambda: '"message":"draining' in self.output())

    def ask_admin(self, path):
        return http("GET", f"http://{self.admin}/{path}")

    def metric(self, name):
        """The sum of a metric's samples."""
        lines = self.ask_admin("metrics").splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


class Demo(Program):
    """`demo`: the service and the simulator in one process."""

    def __init__(self):
        flags = ["--listen", "--admin-listen", "--simulator-listen"]
        addresses = [word for flag in flags for word in (flag, "127.0.0.1:0")]
        super().__init__("demo", BINARY, "demo", *addresses)
        self.address = self.vendor = None

    def is_ready(self):
        service = re.search(r"^ *service +([\d.]+:\d+)$", self.output(), re.MULTILINE)
        vendor = re.search(r"vendor, simulated +(http://[\d.]+:\d+)/", self.output())
        if service and vendor:
            self.address, self.vendor = service[1], Vendor(vendor[1])
        return service and vendor
