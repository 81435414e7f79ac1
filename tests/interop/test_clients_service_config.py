"""clients/service-config.json gives gRPC libraries retries, pushback and health checks, without any
code in the client. The tests look at the output of a client, at the calls that the service logs,
and at the requests to the vendor."""

import json
from datetime import datetime

import pytest

import clients
from processes import Service, Simulator
from tools import ROOT

CONFIG = ROOT / "clients/service-config.json"
RETRY_AFTER = 3  # seconds
TOO_MANY = {"kind": "status", "status": 429, "retryAfter": RETRY_AFTER}
DOWN = {"kind": "status", "status": 503}
# The service must not retry, so that the client does.
NO_RETRIES = ("--upstream-retries", "0")


# Connect, which the client in TypeScript uses, has no service config.
@pytest.fixture(scope="module", params=["go", "java", "python"])
def language(request):
    clients.build(request.param)
    return request.param


@pytest.fixture
def vendor():
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def get(language):
    """Reads sessions with a client. Returns its exit status and output."""

    def get(service, *sessions, config=CONFIG):
        return clients.call(language, service.address, "get", *sessions, service_config=config)

    return get


def get_sessions(calls):
    return [each for each in calls if "GetSession" in each["method"]]


def test_a_429_is_waited_out_and_the_call_succeeds(vendor, get):
    vendor.fail("250040303", TOO_MANY, times=1)
    with Service(vendor, *NO_RETRIES) as service:
        get(service, "250040303").expect(0, "SESSION_STATUS_ACTIVE")
        service.terminate()
        first, second = get_sessions(service.calls())
    counters = vendor.counters()
    assert counters["requests"] == 2
    assert counters["byStatus"]["429"] == 1

    # The client waited, and not its second call in the service.
    assert [first["code"], second["code"]] == ["RESOURCE_EXHAUSTED", "OK"]
    begun = [
        datetime.fromisoformat(c["timestamp"]).timestamp() - c["seconds"] for c in (first, second)
    ]
    assert RETRY_AFTER - 0.1 <= begun[1] - begun[0] < RETRY_AFTER + 3


def test_without_the_service_config_the_call_fails_and_is_told_the_delay(vendor, get):
    vendor.fail("250040303", TOO_MANY, times=1)
    with Service(vendor, *NO_RETRIES) as service:
        outcome = get(service, "250040303", config=None).expect(1)
    error = json.loads(outcome.stdout)["error"]
    assert error["code"] == "RESOURCE_EXHAUSTED"
    assert 0 < error["retryDelaySeconds"] <= RETRY_AFTER


def test_two_503_are_retried_and_the_call_succeeds(vendor, get):
    vendor.fail("250040303", DOWN, times=2)
    with Service(vendor, *NO_RETRIES) as service:
        get(service, "250040303").expect(0)
    assert vendor.counters()["requests"] == 3


def test_a_draining_service_is_left_alone(vendor, get):
    """The service reports NOT_SERVING, and the client sends it no more calls."""
    with Service(vendor, "--drain-delay", "20s") as service:
        get(service, "250040303").expect(0)
        service.drain()
        # Without the service config, the client still calls it.
        get(service, "250040303", config=None).expect(0)
        get(service, "250040303").expect(1, '"UNAVAILABLE"')
        service.kill()
        assert len(get_sessions(service.calls(since="draining"))) == 1


def test_retries_stop_while_too_many_calls_fail(vendor, get):
    """They begin again after enough successful calls."""
    *before, after = failing = [f"failing-{number}" for number in range(6)]
    for session in failing:
        vendor.fail(session, DOWN)
    vendor.control("PATCH", "settings", {"rateLimit": 0})
    # Each attempt of the client is one request to the vendor.
    flags = [
        *(*NO_RETRIES, "--breaker-failures", "0", "--log-ok-calls", "0"),
        *("--upstream-rps", "500", "--upstream-burst", "500"),
    ]
    with Service(vendor, *flags) as service:
        # A client begins with 20 tokens. A failed attempt costs one, and a successful call gives a
        # tenth. With ten tokens or fewer, nothing is retried. The service answers the good calls
        # from memory.
        good = ["250040304"] * 60
        output = get(service, *before, *good, after).output
        asked = vendor.counters()["bySession"]
    *attempts, at_last = [asked.get(session, 0) for session in failing]
    assert attempts == [4, 4, 2, 1, 1]
    assert output.count("SESSION_STATUS_COMPLETE") == len(good)
    assert at_last == 4
