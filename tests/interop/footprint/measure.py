"""Starts the service several times: the time until /readyz is good, and the memory a second later.
Fails if the median of either is over its limit, given in milliseconds and megabytes, in three
rounds: a machine may be busy for a while. Further arguments are flags of `serve`."""

import http.client
import os
import pathlib
import re
import socket
import statistics
import subprocess
import sys
import time

STARTS, ROUNDS = 9, 3
NAMES, UNITS = ("ready after", "resident"), ("ms", "MB")
BINARY = os.environ["INTEROP_BINARY"]
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("GOTOASSIST_")}


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def is_ready(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def start():
    """Milliseconds until it is ready, and megabytes resident a second later."""
    port = free_port()
    command = [BINARY, "serve", "--listen", "127.0.0.1:0", "--admin-listen", f"127.0.0.1:{port}"]
    begin = time.monotonic()
    process = subprocess.Popen(
        command + sys.argv[3:], env=ENVIRONMENT,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    try:
        while not is_ready(port):
            assert process.poll() is None, f"it ended with {process.returncode}"
            assert time.monotonic() - begin < 30, "it is not ready"
            time.sleep(0.001)
        ready = (time.monotonic() - begin) * 1000
        time.sleep(1)
        status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
        resident = int(re.search(r"^VmRSS:\s+(\d+) kB", status, re.M)[1]) * 1024 / 1e6
        return ready, resident
    finally:
        process.kill()
        process.wait()


limits = [float(limit) for limit in sys.argv[1:3]]
for _ in range(ROUNDS):
    medians = [statistics.median(values) for values in zip(*(start() for _ in range(STARTS)))]
    for name, median, limit, unit in zip(NAMES, medians, limits, UNITS):
        print(f"    {name} {median:.1f} {unit}, limit {limit:.0f}")
    if all(median <= limit for median, limit in zip(medians, limits)):
        sys.exit(0)
sys.exit(1)
