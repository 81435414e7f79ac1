"""Runs the clients of all languages side by side and compares what they print, byte for byte.

Normalised means: keys sorted, no white space, numbers as doubles (keys and ids are texts), and
without what differs from call to call: observedAt, resumeToken, the vendor's request id.
"""

import json
import os
import signal
import subprocess
import sys
import threading

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
failed = False


def check(what, good, why=""):
    global failed
    print(f"ok {what}" if good else f"not ok {what}\n    {why}", flush=True)
    failed |= not good


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

    def __init__(self, language, service, *arguments, **environment):
        self.language = language
        self.lines = []
        self._process = subprocess.Popen(
            ["bash", RUNNER, "--run", language, *arguments],
            stdout=subprocess.PIPE, text=True, encoding="utf-8",
            env=ENVIRONMENT | {
                "GOTOASSIST_SERVER": service.address, "GOTOASSIST_TOKEN": "interop",
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

    def kill(self):
        self._process.kill()


def at_once(service, *arguments, **environment):
    """What each client prints, normalised line by line, and its exit status."""
    clients = [Client(language, service, *arguments, **environment) for language in LANGUAGES]
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


def compare_watches(service, vendor):
    """The session goes on while the service is away, once after SIGTERM and once after SIGKILL."""
    joined = {"customerJoinedAt": "2026-11-24T10:05:00Z"}
    vendor.control("PUT", "sessions/walk", life("waiting"))
    clients = [Client(language, service, "watch", "walk") for language in LANGUAGES]

    def all_saw(text, times=1):
        def seen():
            return all(sum(text in line for line in c.lines) >= times for c in clients)

        until(f"all clients saw {text}", seen)

    try:
        all_saw("EVENT_TYPE_SNAPSHOT")
        service.stop(signal.SIGTERM)
        vendor.control("PUT", "sessions/walk", life("active", **joined))
        service.start()
        all_saw("customerJoinedAt")
        check("all resume after the service was drained", True)

        vendor.control("PUT", "sessions/walk", life("active", notes="Zoë’s printer", **joined))
        all_saw("printer")
        service.stop(signal.SIGKILL)
        ended = {"endedAt": "2026-11-24T10:30:00Z"}
        vendor.control("PUT", "sessions/walk", life("complete", notes="Done", **joined, **ended))
        service.start()
        status = {client.language: client.finish() for client in clients}
    finally:
        for client in clients:
            client.kill()
    check("all resume after the service was killed, and end with OK", set(status.values()) == {0}, status)

    # A heartbeat says that nothing changed; how many come depends on when a client reconnects.
    printed = {
        c.language: [normalised(line) for line in c.lines if "EVENT_TYPE_HEARTBEAT" not in line]
        for c in clients
    }
    compare("the same bytes for a watch across two restarts", printed, '"terminal":true')
    transitions = [
        (t["fromStatus"], t["toStatus"])
        for line in printed[LANGUAGES[0]] for t in json.loads(line).get("transitions", [])
    ]
    names = [[name.removeprefix("SESSION_STATUS_") for name in pair] for pair in transitions]
    check(
        "each status change comes once",
        names == [["WAITING", "ACTIVE"], ["ACTIVE", "COMPLETE"]], names,
    )
    kinds = [json.loads(line)["eventType"] for line in printed[LANGUAGES[0]]]
    check("and one snapshot, at the start", kinds.index("EVENT_TYPE_SNAPSHOT") == 0
          and kinds.count("EVENT_TYPE_SNAPSHOT") == 1, kinds)


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
        compare_retry_delay(service, vendor)
    finally:
        service.stop(signal.SIGKILL)
        vendor.stop()
    sys.exit(failed)


main()
