"""Runs the clients of all languages side by side and compares what they print, byte for byte.

Normalised means: keys sorted, no white space, numbers as doubles (keys and ids are texts), and
without what differs from call to call: observedAt, resumeToken, the vendor's request id.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading

from mesh.processes import Envoy, Replica
from checks import check, finish
from processes import BINARY, ENVIRONMENT, Service, Vendor, until

RUNNER, LANGUAGES = sys.argv[1], sys.argv[2:]
SESSIONS = {
    "250040353": "every field",
    "250040354": "as few fields as possible",
    "250040355": "keys of twenty digits",
    "250040356": "unicode, control characters and quotes",
    "250040357": "a status that no documentation names",
    "250040359": "notes of 200 kB",
    "250040360": "null for what does not apply",
    "250040361": "timestamps that nobody can read",
    "a/b?c%2F d": "an id that must be percent-encoded",
}
VOLATILE = {"observedAt", "resumeToken", "upstream_request_id"}


def without_volatile(value):
    if isinstance(value, dict):
        return {k: without_volatile(v) for k, v in value.items() if k not in VOLATILE}
    if isinstance(value, list):
        return [without_volatile(each) for each in value]
    return value


def normalised(line):
    value = without_volatile(json.loads(line, parse_int=float))
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


class Client:
    """A client at work; what it has printed so far is in `lines`."""

    def __init__(self, language, address, *arguments, **environment):
        self.language = language
        self.lines = []
        self._process = subprocess.Popen(
            ["bash", RUNNER, "--run", language, *arguments], start_new_session=True,
            stdout=subprocess.PIPE, text=True, encoding="utf-8",
            env=ENVIRONMENT | {
                "GOTOASSIST_SERVER": address, "GOTOASSIST_TOKEN": "interop",
            } | environment,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self._process.stdout:
            self.lines.append(line)

    def finish(self):
        """Its exit status."""
        status = self._process.wait(timeout=100)
        self._reader.join()
        return status

    def has_ended(self):
        return self._process.poll() is not None

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)


def at_once(service, *arguments, **environment):
    """What each client prints, normalised line by line, and its exit status."""
    clients = [Client(language, service.address, *arguments, **environment) for language in LANGUAGES]
    status = {client.language: client.finish() for client in clients}
    return {c.language: [normalised(line) for line in c.lines] for c in clients}, status


def compare(what, printed, expected_text=None):
    """Whether all printed the same bytes, and these hold a text."""
    first = printed[LANGUAGES[0]]
    others = [language for language in LANGUAGES if printed[language] != first]
    why = "".join(f"{name}: {str(printed[name])[:600]}\n    " for name in [LANGUAGES[0], *others])
    check(what, first and not others, why)
    if expected_text is not None:
        check(f"{what}, and it is {expected_text}", expected_text.encode() in b"".join(first), why)


def compare_sessions(service):
    printed, _ = at_once(service, "get", *SESSIONS)
    for number, (session, what) in enumerate(SESSIONS.items()):
        compare(
            f"the same bytes for {what}",
            {language: lines[number : number + 1] for language, lines in printed.items()},
        )
        # The service's own client is one more witness.
        own = subprocess.run(
            [BINARY, "get", session, "--server", f"http://{service.address}", "--token", "interop"],
            stdout=subprocess.PIPE, env=ENVIRONMENT, check=True,
        )
        check(
            f"and the service's own client agrees on {what}",
            [normalised(own.stdout)] == printed[LANGUAGES[0]][number : number + 1],
        )
    everything = b"".join(printed[LANGUAGES[0]])
    for digits in ("99999822536216596540", "-18422002972480548071"):
        check(f"no digit of {digits} is lost", f'"{digits}"'.encode() in everything)
    long = json.loads(printed[LANGUAGES[0]][list(SESSIONS).index("250040359")])
    check("the notes are whole", len(long["session"]["notes"].encode()) == 199_992)


def compare_links_and_errors(service, vendor):
    printed, _ = at_once(service, "links", "one.example.com", "two.example.com", "none.example.com")
    compare("the same bytes for the links of three domains", printed, "callbackURL")

    printed, status = at_once(service, "get", "nobody", "", "..", "line\nbreak")
    compare("the same bytes for NOT_FOUND and BadRequest", printed, "SESSION_NOT_FOUND")
    check("and an exit status that tells", set(status.values()) == {1}, status)

    printed, _ = at_once(service, "get", "250040353", GOTOASSIST_TOKEN="bad-token")
    compare("the same bytes for a refused credential", printed, "CREDENTIAL_REJECTED")

    vendor.control("POST", "faults", {"fault": {"kind": "hang"}, "sessionId": "250040301"})
    printed, _ = at_once(service, "get", "250040301")
    vendor.control("DELETE", "faults")
    codes = {language: json.loads(lines[0])["error"]["code"] for language, lines in printed.items()}
    check("all give up at their deadline", set(codes.values()) == {"DEADLINE_EXCEEDED"}, codes)


def life(status, **fields):
    return {
        "steps": [{"at": -60, "status": status}],
        "fields": {"startedAt": "2026-11-24T10:00:00Z"} | fields,
    }


@contextlib.contextmanager
def watching(address, session):
    """A watch in each language, and a function that waits until all have printed a text."""
    clients = [Client(language, address, "watch", session) for language in LANGUAGES]

    def all_saw(text):
        def seen():
            ended = [c.lines[-1:] for c in clients if c.has_ended()]
            if ended:
                raise RuntimeError(f"before all saw {text}, some ended with {ended}")
            return all(text in "".join(c.lines) for c in clients)

        until(f"all clients saw {text}", seen)

    try:
        all_saw("EVENT_TYPE_SNAPSHOT")
        yield clients, all_saw
    finally:
        for client in clients:
            client.kill()


def compare_histories(what, clients):
    """Each was told of each status once, in the same bytes."""
    status = {client.language: client.finish() for client in clients}
    check(f"{what}: all end with OK", set(status.values()) == {0}, [c.lines[-1:] for c in clients])
    # A heartbeat says that nothing changed; how many come depends on when a client reconnects.
    printed = {
        c.language: [normalised(line) for line in c.lines if "EVENT_TYPE_HEARTBEAT" not in line]
        for c in clients
    }
    compare(f"{what}: the same bytes for a watch", printed, '"terminal":true')
    transitions = [
        (t["fromStatus"], t["toStatus"])
        for line in printed[LANGUAGES[0]] for t in json.loads(line).get("transitions", [])
    ]
    names = [[name.removeprefix("SESSION_STATUS_") for name in pair] for pair in transitions]
    check(
        f"{what}: each status change comes once",
        names == [["WAITING", "ACTIVE"], ["ACTIVE", "COMPLETE"]], names,
    )
    kinds = [json.loads(line).get("eventType") for line in printed[LANGUAGES[0]]]
    check(f"{what}: and one snapshot, at the start", kinds.index("EVENT_TYPE_SNAPSHOT") == 0
          and kinds.count("EVENT_TYPE_SNAPSHOT") == 1, kinds)


JOINED = {"customerJoinedAt": "2026-11-24T10:05:00Z"}
ENDED = {"endedAt": "2026-11-24T10:30:00Z"}


def compare_watches(service, vendor):
    """The session goes on while the service is away, once after SIGTERM and once after SIGKILL."""
    vendor.control("PUT", "sessions/walk", life("waiting"))
    with watching(service.address, "walk") as (clients, all_saw):
        service.stop(signal.SIGTERM)
        vendor.control("PUT", "sessions/walk", life("active", **JOINED))
        service.start()
        all_saw("customerJoinedAt")
        vendor.control("PUT", "sessions/walk", life("active", notes="Zoë’s printer", **JOINED))
        all_saw("printer")
        service.stop(signal.SIGKILL)
        vendor.control("PUT", "sessions/walk", life("complete", notes="Done", **JOINED, **ENDED))
        service.start()
        compare_histories("drained, then killed", clients)


def compare_watches_behind_envoy(vendor):
    """Its ring brings all watches of a session to one replica. That is killed, then Envoy."""
    vendor.control("PUT", "sessions/ring", life("waiting"))
    with contextlib.ExitStack() as stack:
        replicas = [stack.enter_context(Replica(each, vendor.url)) for each in range(3)]
        envoy = stack.enter_context(Envoy(replicas))

        def holders():
            """The replicas that have watches, once these are all there."""
            watches = {each: each.metric("gotoassist_watches") for each in replicas}
            there = sum(watches.values()) == len(LANGUAGES)
            return there and [each for each, count in watches.items() if count]

        clients, all_saw = stack.enter_context(watching(envoy.address, "ring"))
        [killed, *others] = until("all watches are counted", holders)
        check("behind Envoy: all watches of a session are on one replica", not others)
        killed.kill()
        replicas.remove(killed)  # Envoy's list too: it will not wait for that one
        vendor.control("PUT", "sessions/ring", life("active", **JOINED))
        all_saw("customerJoinedAt")
        [_, *others] = until("all watches are counted again", holders)
        check("behind Envoy: that is killed, and all go on on one other", not others)
        envoy.kill()
        vendor.control("PUT", "sessions/ring", life("complete", **JOINED, **ENDED))
        envoy.start()
        compare_histories("behind Envoy, which is killed", clients)


def compare_retry_delay(service, vendor):
    """Last, for it stops all traffic to the vendor."""
    fault = {"kind": "status", "status": 429, "retryAfter": 40}
    vendor.control("POST", "faults", {"fault": fault, "sessionId": "250040302", "times": 1})
    printed, _ = at_once(service, "get", "250040302")
    # Each is told what is left of the 40 s when it asks.
    delays = {}
    for language, lines in printed.items():
        error = json.loads(lines[0])["error"]
        delays[language] = (error["code"], error.get("retryDelaySeconds", 0) > 10)
    check("all read RetryInfo", set(delays.values()) == {("RESOURCE_EXHAUSTED", True)}, printed)


def main():
    vendor = Vendor()
    service = Service(
        vendor, "--drain-delay", "0s", "--poll-waiting", "1s", "--poll-active", "1s",
        "--upstream-timeout", "30s",  # beyond the clients' deadline
    )
    try:
        compare_sessions(service)
        compare_links_and_errors(service, vendor)
        compare_watches(service, vendor)
        compare_watches_behind_envoy(vendor)
        compare_retry_delay(service, vendor)
    finally:
        service.stop(signal.SIGKILL)
        vendor.stop()
    finish()


main()
