"""Starts the simulated vendor and the service as processes, for suites that stop and restart them."""

import json
import os
import re
import signal
import subprocess
import time
import urllib.request

BINARY = os.environ["INTEROP_BINARY"]
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("GOTOASSIST_")}


class Vendor:
    """The simulated vendor."""

    def __init__(self):
        self._process = subprocess.Popen(
            [BINARY, "simulate", "--listen", "127.0.0.1:0"],
            stdout=subprocess.PIPE, text=True, env=ENVIRONMENT,
        )
        for line in self._process.stdout:
            if found := re.search(r"(http://\S+)/G2A", line):
                self.url = found[1]
                return
        raise RuntimeError("the simulator does not start")

    def control(self, method, path, body=None):
        request = urllib.request.Request(
            f"{self.url}/control/{path}", method=method,
            data=None if body is None else json.dumps(body).encode(),
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            content = answer.read()
        return json.loads(content) if content else None

    def stop(self):
        self._process.kill()
        self._process.wait()


class Service:
    """The service in front of the vendor; after a restart it has the same address."""

    def __init__(self, vendor, *flags):
        self._vendor, self._flags = vendor, flags
        self.address = "127.0.0.1:0"
        self.start()

    def start(self):
        self._process = subprocess.Popen(
            [
                BINARY, "serve", "--listen", self.address, "--admin-listen", "127.0.0.1:0",
                "--upstream-url", f"{self._vendor.url}/G2A/rest/v1", "--log-format", "json",
                "--log-level", "info", *self._flags,
            ],
            stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
        )
        seen = []
        for line in self._process.stderr:
            seen.append(line)
            if '"message":"serving"' in line:
                self.address = json.loads(line)["address"]
                break
        else:
            raise RuntimeError("the service does not start: " + "".join(seen))

    def drain(self):
        """Returns as soon as the service says that it drains."""
        self._process.send_signal(signal.SIGTERM)
        for line in self._process.stderr:
            if '"draining' in line:
                return
        raise RuntimeError("the service does not drain")

    def stop(self, how=signal.SIGTERM):
        """Gives the calls that it has logged since it serves (or drains)."""
        self._process.send_signal(how)
        lines = [json.loads(line) for line in self._process.stderr]
        self._process.wait(timeout=60)
        return [line for line in lines if line.get("message") == "call ended"]


def until(what, holds, seconds=60):
    """Waits until it holds."""
    end = time.monotonic() + seconds
    while not (value := holds()):
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(0.05)
    return value
