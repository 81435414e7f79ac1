"""The client examples of all languages print the same JSON, byte for byte once it is normalised,
also across restarts of the service, with and without an Envoy between.

Normalised means: keys sorted, no white space, numbers as doubles (keys and ids are texts), and
without what differs from call to call: observedAt, resumeToken, the vendor's request id."""

import contextlib
import itertools
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

import clients
from clients import LANGUAGES
from envoy import Envoy, replica
from processes import Program, Service, until
from tools import binary

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
JOINED = {"customerJoinedAt": "2026-11-24T10:05:00Z"}
ENDED = {"endedAt": "2026-11-24T10:30:00Z"}


def without_volatile(value):
    if isinstance(value, dict):
        return {k: without_volatile(v) for k, v in value.items() if k not in VOLATILE}
    if isinstance(value, list):
        return [without_volatile(each) for each in value]
    return value


def normalised(line):
    value = without_volatile(json.loads(line, parse_int=float))
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


@pytest.fixture(scope="module", autouse=True)
def built():
    for language in LANGUAGES:
        clients.build(language)


@pytest.fixture(scope="module")
def service(simulator):
    flags = [
        *("--drain-delay", "0s", "--poll-waiting", "1s", "--poll-active", "1s"),
        # Beyond the clients' deadline.
        *("--upstream-timeout", "30s"),
    ]
    with Service(simulator, *flags) as service:
        yield service


def at_once(service, *arguments, **settings):
    """Runs all clients at once. Returns what each prints, normalised line by line, and its exit
    status."""

    def one(language):
        return clients.call(language, service.address, *arguments, **settings)

    with ThreadPoolExecutor() as pool:
        outcomes = dict(zip(LANGUAGES, pool.map(one, LANGUAGES), strict=True))
    # Only a line feed ends a line; a text may contain other separators.
    lines = {k: each.stdout.split("\n")[:-1] for k, each in outcomes.items()}
    printed = {k: [normalised(line) for line in each] for k, each in lines.items()}
    return printed, {k: each.status for k, each in outcomes.items()}


def assert_same(printed):
    """Asserts that all printed the same bytes, and returns these."""
    first = printed[LANGUAGES[0]]
    assert first
    for language in LANGUAGES:
        assert printed[language] == first, f"{language} differs from {LANGUAGES[0]}"
    return first


@pytest.fixture(scope="module")
def sessions(service):
    """What each client prints for each session, a line each."""
    printed, _ = at_once(service, "get", *SESSIONS)
    return printed


@pytest.mark.parametrize("session", SESSIONS, ids=SESSIONS.values())
def test_same_bytes_for_a_session(service, sessions, session):
    number = list(SESSIONS).index(session)
    line = assert_same({k: lines[number : number + 1] for k, lines in sessions.items()})
    # The service's own client is one more witness.
    server = f"http://{service.address}"
    own = binary("get", session, "--server", server, "--token", clients.TOKEN).expect(0)
    assert [normalised(own.stdout)] == line


@pytest.mark.parametrize("digits", ["99999822536216596540", "-18422002972480548071"])
def test_no_digit_is_lost(sessions, digits):
    assert f'"{digits}"'.encode() in b"".join(sessions[LANGUAGES[0]])


def test_notes_are_complete(sessions):
    line = sessions[LANGUAGES[0]][list(SESSIONS).index("250040359")]
    assert len(json.loads(line)["session"]["notes"].encode()) == 199_992


def test_same_bytes_for_the_links_of_three_domains(service):
    printed, _ = at_once(service, "links", "one.example.com", "two.example.com", "none.example.com")
    assert b"callbackURL" in b"".join(assert_same(printed))


def test_same_bytes_for_not_found_and_bad_request(service):
    printed, status = at_once(service, "get", "nobody", "", "..", "line\nbreak")
    assert b"SESSION_NOT_FOUND" in b"".join(assert_same(printed))
    assert set(status.values()) == {1}


def test_same_bytes_for_a_refused_credential(service):
    printed, _ = at_once(service, "get", "250040353", token="bad-token")
    assert b"CREDENTIAL_REJECTED" in b"".join(assert_same(printed))


def test_all_give_up_at_their_deadline(service, simulator):
    simulator.fail("250040301", {"kind": "hang"})
    printed, _ = at_once(service, "get", "250040301")
    simulator.mend()
    codes = {k: json.loads(lines[0])["error"]["code"] for k, lines in printed.items()}
    assert set(codes.values()) == {"DEADLINE_EXCEEDED"}, codes


class Watch(Program):
    """A client that watches one session or many."""

    def __init__(self, language, address, *arguments):
        self.language = language
        command = clients.command(language, *arguments)
        environment = clients.environment(language, address)
        super().__init__(f"{language}-client", *command, environment=environment)

    def lines(self):
        """The messages that it has printed. Other lines are what its library logs."""
        return [line for line in self.output().split("\n")[:-1] if line.startswith("{")]

    def lines_of(self, session):
        """The messages of one of many sessions, as a watch of that session alone would print
        them."""
        messages = [json.loads(line) for line in self.lines()]
        messages = [each for each in messages if each.get("sessionId") == session]
        assert [each["ended"] for each in messages if "ended" in each] == [{}], "OK, once"
        return [json.dumps(each["update"]) for each in messages if "update" in each]


class Watches:
    """A watch in each language, of one session or of many on one stream."""

    def __init__(self, address, *sessions):
        self.sessions = sessions
        command = "watch" if len(sessions) == 1 else "watch-many"
        self.all = [Watch(language, address, command, *sessions) for language in LANGUAGES]
        self.stack = contextlib.ExitStack()

    def __enter__(self):
        with self.stack as stack:
            for each in self.all:
                stack.enter_context(each)
            self.wait_for("EVENT_TYPE_SNAPSHOT")
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self.stack.close()

    def wait_for(self, text):
        """Waits until all have printed a text."""

        def all_saw():
            ended = [each.tail() for each in self.all if not each.is_running()]
            assert not ended, f"before all saw {text}, some ended"
            return all(text in "".join(each.lines()) for each in self.all)

        until(f"all clients saw {text}", all_saw, 60)

    def assert_histories(self):
        """Each was told of each status of each session once, in the same bytes."""
        status = {each.language: each.process.wait(100) for each in self.all}
        assert set(status.values()) == {0}, status
        if len(self.sessions) == 1:
            self.assert_history({each.language: each.lines() for each in self.all})
        else:
            for session in self.sessions:
                self.assert_history({each.language: each.lines_of(session) for each in self.all})

    def assert_history(self, lines):
        # A heartbeat says that nothing changed; how many come depends on when a client reconnects.
        printed = {
            language: [normalised(line) for line in each if "EVENT_TYPE_HEARTBEAT" not in line]
            for language, each in lines.items()
        }
        lines = assert_same(printed)
        assert b'"terminal":true' in b"".join(lines)
        messages = [json.loads(line) for line in lines]
        transitions = [
            (each["fromStatus"], each["toStatus"])
            for message in messages
            for each in message.get("transitions", [])
        ]
        names = ["SESSION_STATUS_WAITING", "SESSION_STATUS_ACTIVE", "SESSION_STATUS_COMPLETE"]
        assert transitions == list(itertools.pairwise(names))
        kinds = [message.get("eventType") for message in messages]
        assert kinds[0] == "EVENT_TYPE_SNAPSHOT"
        assert kinds.count("EVENT_TYPE_SNAPSHOT") == 1


def put(vendor, session, status, **fields):
    """Puts a session with one status, and the time when it started."""
    vendor.put(session, (-60, status), startedAt="2026-11-24T10:00:00Z", **fields)


def test_watches_go_on_after_sigterm_and_after_sigkill(service, simulator):
    """The session goes on while the service is away."""
    put(simulator, "walk", "waiting")
    with Watches(service.address, "walk") as watches:
        service.terminate()
        put(simulator, "walk", "active", **JOINED)
        service.start()
        watches.wait_for("customerJoinedAt")
        put(simulator, "walk", "active", notes="Zoë’s printer", **JOINED)
        watches.wait_for("printer")
        service.kill()
        put(simulator, "walk", "complete", notes="Done", **JOINED, **ENDED)
        service.start()
        watches.assert_histories()


def test_many_watches_on_one_stream_go_on_after_sigterm_and_after_sigkill(service, simulator):
    sessions = ("desk-1", "desk-2", "desk-3")
    for session in sessions:
        put(simulator, session, "waiting")
    with Watches(service.address, *sessions) as watches:
        for session in sessions:
            watches.wait_for(session)
        service.terminate()
        put(simulator, "desk-1", "active", notes="desk-1 is active", **JOINED)
        service.start()
        watches.wait_for("desk-1 is active")
        service.kill()
        for session in sessions:
            put(simulator, session, "complete", **JOINED, **ENDED)
        service.start()
        watches.assert_histories()


def test_many_watches_on_one_stream_go_on_through_envoy(simulator, scratch):
    """A rolling restart: each replica drains and comes back, one after the other."""
    sessions = ("rolling-1", "rolling-2")
    for session in sessions:
        put(simulator, session, "waiting")
    with contextlib.ExitStack() as stack:
        replicas = [stack.enter_context(replica(each, simulator)) for each in range(3)]
        envoy = stack.enter_context(Envoy(replicas, scratch))
        watches = stack.enter_context(Watches(envoy.address, *sessions))
        for session in sessions:
            watches.wait_for(session)
        for number, each in enumerate(replicas):
            each.terminate()
            if number == 1:
                for session in sessions:
                    put(simulator, session, "active", **JOINED)
            each.start()
        for session in sessions:
            put(simulator, session, "complete", **JOINED, **ENDED)
        watches.assert_histories()


def test_watches_go_on_after_sigkill_of_a_replica_and_of_envoy(simulator, scratch):
    """Envoy's ring brings all watches of a session to one replica."""
    put(simulator, "ring", "waiting")
    with contextlib.ExitStack() as stack:
        replicas = [stack.enter_context(replica(each, simulator)) for each in range(3)]
        envoy = stack.enter_context(Envoy(replicas, scratch))

        def holders():
            """The replicas that have watches, once there are as many as clients."""
            counts = {each: each.metric("gotoassist_watches") for each in replicas}
            is_complete = sum(counts.values()) == len(LANGUAGES)
            return is_complete and [each for each, count in counts.items() if count]

        watches = stack.enter_context(Watches(envoy.address, "ring"))
        [killed, *others] = until("all watches are counted", holders, 60)
        assert not others, "all watches of a session are on one replica"
        killed.kill()
        replicas.remove(killed)  # From Envoy's list too, which will not wait for that one.
        put(simulator, "ring", "active", **JOINED)
        watches.wait_for("customerJoinedAt")
        [_, *others] = until("all watches are counted again", holders, 60)
        assert not others, "all go on on one other"
        envoy.kill()
        put(simulator, "ring", "complete", **JOINED, **ENDED)
        envoy.start()
        watches.assert_histories()


def test_all_read_retry_info(service, simulator):
    """The last test, since it stops all traffic to the vendor."""
    fault = {"kind": "status", "status": 429, "retryAfter": 40}
    simulator.fail("250040302", fault, times=1)
    printed, _ = at_once(service, "get", "250040302")
    for language, lines in printed.items():
        error = json.loads(lines[0])["error"]
        assert error["code"] == "RESOURCE_EXHAUSTED", language
        # Each is told what is left of the 40 s when it asks.
        assert error.get("retryDelaySeconds", 0) > 10, language
