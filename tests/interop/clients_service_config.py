"""What clients/service-config.json does, seen from outside: answers, the calls that the
service logged, requests upstream."""

import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from checks import check, finish
from processes import ENVIRONMENT, Service, Vendor

RUNNER, LANGUAGES = sys.argv[1], sys.argv[2:]
CONFIG = {"GOTOASSIST_SERVICE_CONFIG": "clients/service-config.json"}
RETRY_AFTER = 3  # seconds


def get(language, service, environment, *sessions):
    """Exit status and output."""
    done = subprocess.run(
        ["bash", RUNNER, "--run", language, "get", *sessions], stdout=subprocess.PIPE, text=True,
        env=ENVIRONMENT
        | {"GOTOASSIST_SERVER": service.address, "GOTOASSIST_TOKEN": "interop"} | environment,
        timeout=60,
    )
    return done.returncode, done.stdout


def pushback(language, vendor):
    """A 429 with Retry-After: the client waits so long, asks again, and succeeds."""
    fault = {"kind": "status", "status": 429, "retryAfter": RETRY_AFTER}
    vendor.control("DELETE", "counters")
    vendor.control("POST", "faults", {"fault": fault, "sessionId": "250040303", "times": 1})
    # The service would retry by itself; here it is the client's turn.
    service = Service(vendor, "--upstream-retries", "0")
    try:
        status, output = get(language, service, CONFIG, "250040303")
    finally:
        calls = service.stop()
    check(f"{language}: a 429 is waited out and the call succeeds",
          status == 0 and "SESSION_STATUS_ACTIVE" in output, output)
    counters = vendor.control("GET", "counters")
    check(f"{language}: two requests reached the vendor, one of them refused",
          counters["requests"] == 2 and counters["byStatus"].get("429") == 1, counters["byStatus"])

    # It was the client that waited, not its second call within the service.
    calls = [call for call in calls if "GetSession" in call["method"]]
    begun = [datetime.fromisoformat(c["timestamp"]).timestamp() - c["seconds"] for c in calls]
    between = begun[-1] - begun[0]
    check(f"{language}: the second call came {between:.2f} s after the first, as Retry-After says",
          [call["code"] for call in calls] == ["RESOURCE_EXHAUSTED", "OK"]
          and RETRY_AFTER - 0.1 <= between < RETRY_AFTER + 3, calls)


def told(language, vendor):
    """The same without the service config."""
    fault = {"kind": "status", "status": 429, "retryAfter": RETRY_AFTER}
    vendor.control("DELETE", "faults")
    vendor.control("POST", "faults", {"fault": fault, "sessionId": "250040303", "times": 1})
    service = Service(vendor, "--upstream-retries", "0")
    try:
        status, output = get(language, service, {}, "250040303")
        error = json.loads(output).get("error", {})
        check(f"{language}: without the service config the call fails and is told the delay",
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
        status, output = get(language, service, CONFIG, "250040303")
        requests = vendor.control("GET", "counters")["requests"]
        check(f"{language}: two 503 are retried and the call succeeds", status == 0 and requests == 3,
              (requests, output))
    finally:
        vendor.control("DELETE", "faults")
        service.stop(signal.SIGKILL)


def throttling(language, vendor):
    """Retries stop while too many calls fail, and begin again after enough good ones."""
    *before, after = failing = [f"failing-{number}" for number in range(6)]
    for session in failing:
        fault = {"kind": "status", "status": 503}
        vendor.control("POST", "faults", {"fault": fault, "sessionId": session})
    vendor.control("PATCH", "settings", {"rateLimit": 0})
    vendor.control("DELETE", "counters")
    # Each attempt of the client is one request to the vendor.
    service = Service(vendor, "--upstream-retries", "0", "--breaker-failures", "0",
                      "--upstream-rps", "500", "--upstream-burst", "500", "--log-ok-calls", "0")
    try:
        # 20 tokens; an attempt that fails costs one, a call that succeeds gives a tenth, and with
        # ten or fewer nothing is retried. The good ones come from the service's memory.
        good = ["250040304"] * 60
        _, output = get(language, service, CONFIG, *before, *good, after)
        asked = vendor.control("GET", "counters")["bySession"]
    finally:
        vendor.control("DELETE", "faults")
        service.stop(signal.SIGKILL)
    *attempts, at_last = [asked.get(session, 0) for session in failing]
    check(f"{language}: retries stop when the tokens are used up: {attempts} attempts a call",
          attempts == [4, 4, 2, 1, 1], output[:2000])
    succeeded = output.count("SESSION_STATUS_COMPLETE")
    check(f"{language}: and begin again after {succeeded} good calls: {at_last} attempts",
          succeeded == len(good) and at_last == 4, output[-2000:])


def health(language, vendor):
    """A service that drains says NOT_SERVING, and the client gives it no more calls."""
    service = Service(vendor, "--drain-delay", "20s")
    calls = []
    try:
        status, output = get(language, service, CONFIG, "250040303")
        check(f"{language}: a serving service is called", status == 0, output)
        service.drain()
        status, output = get(language, service, {}, "250040303")
        check(f"{language}: without the service config a draining one is called", status == 0, output)
        status, output = get(language, service, CONFIG, "250040303")
    finally:
        calls = service.stop(signal.SIGKILL)
    calls = [call for call in calls if "GetSession" in call["method"]]
    check(f"{language}: with it, a draining one is left alone",
          status == 1 and '"UNAVAILABLE"' in output and len(calls) == 1, (output, calls))


def all_of(language):
    vendor = Vendor()
    try:
        for part in (pushback, told, unavailable, health, throttling):
            part(language, vendor)
    finally:
        vendor.stop()


def main():
    with ThreadPoolExecutor() as pool:
        list(pool.map(all_of, LANGUAGES))
    finish()


main()
