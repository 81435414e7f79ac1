"""What clients/service-config.json does, seen from outside: time, answers, requests upstream."""

import json
import signal
import subprocess
import sys
import time

from processes import ENVIRONMENT, Service, Vendor

RUNNER, LANGUAGES = sys.argv[1], sys.argv[2:]
CONFIG = {"GOTOASSIST_SERVICE_CONFIG": "clients/service-config.json"}
RETRY_AFTER = 3  # seconds
failed = False


def check(what, good, why=""):
    global failed
    print(f"ok {what}" if good else f"not ok {what}\n    {why}", flush=True)
    failed |= not good


def get(language, service, session, environment):
    """Exit status, output, and how long it took in seconds."""
    begin = time.monotonic()
    done = subprocess.run(
        ["bash", RUNNER, "--run", language, "get", session], stdout=subprocess.PIPE, text=True,
        env=ENVIRONMENT
        | {"GOTOASSIST_SERVER": service.address, "GOTOASSIST_TOKEN": "interop"} | environment,
        timeout=60,
    )
    return done.returncode, done.stdout, time.monotonic() - begin


def pushback(language, vendor):
    """A 429 with Retry-After: the client waits so long, asks again, and succeeds."""
    # The service would retry by itself; here it is the client's turn.
    service = Service(vendor, "--upstream-retries", "0")
    fault = {"kind": "status", "status": 429, "retryAfter": RETRY_AFTER}
    try:
        vendor.control("DELETE", "counters")
        vendor.control("POST", "faults", {"fault": fault, "sessionId": "250040303", "times": 1})
        status, output, took = get(language, service, "250040303", CONFIG)
        counters = vendor.control("GET", "counters")
        check(f"{language}: a 429 is waited out and the call succeeds",
              status == 0 and "SESSION_STATUS_ACTIVE" in output, output)
        check(f"{language}: it took the {RETRY_AFTER} s of Retry-After ({took:.1f} s)",
              RETRY_AFTER <= took < RETRY_AFTER + 7, took)
        check(f"{language}: two requests reached the vendor, one of them refused",
              counters["requests"] == 2 and counters["byStatus"].get("429") == 1, counters["byStatus"])

        vendor.control("DELETE", "faults")
        vendor.control("POST", "faults", {"fault": fault, "sessionId": "250040303", "times": 1})
        status, output, _ = get(language, service, "250040303", {})
        error = json.loads(output).get("error", {})
        check(f"{language}: without the service config the same call fails and is told the delay",
              status == 1 and error.get("code") == "RESOURCE_EXHAUSTED"
              and 0 < error.get("retryDelaySeconds", 0) <= RETRY_AFTER, output)
    finally:
        vendor.control("DELETE", "faults")
        service.stop(signal.SIGKILL)


def unavailable(language, vendor):
    """Two 503: the client backs off and tries again."""
    service = Service(vendor, "--upstream-retries", "0")
    try:
        vendor.control("DELETE", "counters")
        vendor.control("POST", "faults", {
            "fault": {"kind": "status", "status": 503}, "sessionId": "250040303", "times": 2,
        })
        status, output, _ = get(language, service, "250040303", CONFIG)
        requests = vendor.control("GET", "counters")["requests"]
        check(f"{language}: two 503 are retried and the call succeeds", status == 0 and requests == 3,
              (requests, output))
    finally:
        vendor.control("DELETE", "faults")
        service.stop(signal.SIGKILL)


def health(language, vendor):
    """A service that drains says NOT_SERVING, and the client gives it no more calls."""
    service = Service(vendor, "--drain-delay", "20s")
    try:
        status, output, _ = get(language, service, "250040303", CONFIG)
        check(f"{language}: a serving service is called", status == 0, output)
        service.drain()
        status, output, _ = get(language, service, "250040303", {})
        check(f"{language}: without the service config a draining one is called", status == 0, output)
        status, output, _ = get(language, service, "250040303", CONFIG)
        check(f"{language}: with it, a draining one is left alone",
              status == 1 and '"UNAVAILABLE"' in output, output)
    finally:
        service.stop(signal.SIGKILL)


def main():
    vendor = Vendor()
    try:
        for language in LANGUAGES:
            pushback(language, vendor)
            unavailable(language, vendor)
        health("go", vendor)
    finally:
        vendor.stop()
    sys.exit(failed)


main()
