"""Puts a short load on the service with the real ghz, which uses reflection. Every call must
succeed. The time limits are so wide that only a broken service exceeds them."""

import json

import pytest

from tools import go_program, run

SERVICE = "gotoassist.remotesupport.v1.RemoteSupportService"
# The service answers for a finished session from memory, so the vendor's quota does not matter.
FINISHED = '{"session_id": "250040304"}'


@pytest.fixture
def load(demo, note):
    """Puts load on a method and returns the number of calls by status."""
    ghz = go_program("github.com/bojand/ghz/cmd/ghz", "v0.93.0")
    credential = '{"authorization": "Bearer interop"}'

    def load(method, *arguments):
        command = [
            *(ghz, "--insecure", "--call", f"{SERVICE}.{method}", "--metadata", credential),
            *("--data", FINISHED, "--timeout", "30s", "--format", "json"),
            *(*arguments, demo.address),
        ]
        outcome = run(*command)
        # ghz sometimes closes its channel of results before the last one is in it, and panics.
        for _ in range(3):
            if "panic: send on closed channel" in outcome.stderr:
                outcome = run(*command)
        outcome.expect(0)
        report = json.loads(outcome.stdout)
        latency = {
            each["percentage"]: each["latency"] / 1e6 for each in report["latencyDistribution"]
        }
        note(
            f"{report['rps']:.0f} calls a second, "
            f"median {latency[50]:.1f} ms, p99 {latency[99]:.1f} ms"
        )
        return report["statusCodeDistribution"]

    return load


def test_one_call(load):
    assert load("GetSession", "--total", "1")


def test_5000_calls_on_50_connections(load):
    options = ["--total", "5000", "--concurrency", "50", "--connections", "50"]
    assert load("GetSession", *options) == {"OK": 5000}


def test_1000_watches_of_a_finished_session(load):
    options = ["--total", "1000", "--concurrency", "100", "--connections", "5"]
    assert load("WatchSession", *options) == {"OK": 1000}
