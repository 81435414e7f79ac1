"""Clients like those of users: watches that resume, and unary calls that the service config
retries. Each watch checks its own history."""

import asyncio
import collections
import random

import grpc
from google.rpc import error_details_pb2, status_pb2

from tools import ROOT

# Generated from the current .proto files, which grpcio-tools finds on Python's path.
PROTOS = "gotoassist/remotesupport/v1"
messages, stubs = grpc.protos_and_services(f"{PROTOS}/remote_support_service.proto")
session_messages = grpc.protos(f"{PROTOS}/session.proto")

SERVICE_CONFIG = (ROOT / "clients/service-config.json").read_text()
# A retry would not help.
PERMANENT = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.UNIMPLEMENTED,
}
Event = messages.WatchSessionResponse.EventType
Status = session_messages.SessionStatus


def channels(address, count):
    """A few channels, each with its own connection."""
    options = [
        ("grpc.service_config", SERVICE_CONFIG),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.keepalive_time_ms", 20_000),
    ]
    return [grpc.aio.insecure_channel(address, options=options) for _ in range(count)]


def metadata(session, token="caller"):
    """The credential, and the session for Envoy's ring hash."""
    return (("authorization", f"Bearer {token}"), ("session-id", session))


def retry_delay(error):
    """The delay of the service's RetryInfo, in seconds. None if there is no RetryInfo."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                info = error_details_pb2.RetryInfo()
                if detail.Unpack(info):
                    return info.retry_delay.ToTimedelta().total_seconds()
    return None


class Watcher:
    """One watch, which may take several streams, and all problems of its history."""

    def __init__(self, channel, session, ends):
        self.stub = stubs.RemoteSupportServiceStub(channel)
        self.session, self.ends = session, ends
        self.statuses, self.token, self.observed_at = [], "", None
        self.problems, self.events = [], collections.Counter()
        self.is_over, self.began = False, asyncio.Event()

    async def run(self):
        """Watches until the session is over, or until a message is wrong."""
        while not self.is_over and not self.problems:
            request = messages.WatchSessionRequest(session_id=self.session, resume_token=self.token)
            call = self.stub.WatchSession(request, metadata=metadata(self.session))
            delay = None
            try:
                async for message in call:
                    self.take(message)
                self.ends["OK"] += 1
                if not self.is_over:
                    self.problem("OK without a terminal message")
            except grpc.aio.AioRpcError as error:
                self.ends[error.code().name] += 1
                if self.is_over:
                    self.problem(f"{error.code().name} after the terminal message")
                elif error.code() in PERMANENT:
                    self.problem(f"{error.code().name}: {error.details()}")
                else:
                    delay = retry_delay(error)
            if not self.is_over and not self.problems:
                await asyncio.sleep(delay if delay is not None else random.uniform(0.1, 0.6))

    def take(self, message):
        """Checks one message against all earlier ones."""
        observed_at = message.observed_at.ToNanoseconds()
        if self.is_over:
            self.problem("a message after the terminal one")
        if self.observed_at is not None and observed_at < self.observed_at:
            self.problem("observed_at went back")
        self.observed_at = observed_at
        self.events[Event.Name(message.event_type)] += 1
        if message.event_type == Event.EVENT_TYPE_SNAPSHOT:
            if self.statuses:
                self.problem("a second snapshot")
            self.statuses = [message.session.status]
        for transition in message.transitions:
            if not self.statuses or transition.from_status != self.statuses[-1]:
                self.problem(f"a transition from {transition.from_status} after {self.statuses}")
            if transition.to_status in self.statuses:
                self.problem(f"{transition.to_status} a second time after {self.statuses}")
            self.statuses.append(transition.to_status)
        if message.HasField("session") and message.session.status != self.statuses[-1]:
            self.problem(f"the session is {message.session.status} after {self.statuses}")
        if not message.resume_token:
            self.problem("no resume token")
        self.token, self.is_over = message.resume_token, message.terminal
        self.began.set()

    def problem(self, text):
        self.problems.append(f"{self.session}: {text}")

    def expect(self, *statuses):
        """Checks that the watcher got exactly these statuses."""
        names = [Status.Name(each).removeprefix("SESSION_STATUS_") for each in self.statuses]
        if names != list(statuses):
            self.problem(f"got {names}")


class Watchers:
    """Many watches on a few channels."""

    def __init__(self, address, sessions, each, connections=4):
        self.channels = channels(address, connections)
        self.ends = collections.Counter()
        # In random order, so that each channel gets watchers of all sessions.
        order = [session for session in sessions for _ in range(each)]
        random.Random(7).shuffle(order)
        self.all = [
            Watcher(self.channels[number % connections], session, self.ends)
            for number, session in enumerate(order)
        ]
        self.tasks = []

    async def __aenter__(self):
        self.tasks = [asyncio.create_task(each.run()) for each in self.all]
        await asyncio.wait_for(asyncio.gather(*(each.began.wait() for each in self.all)), 30)
        return self

    async def __aexit__(self, *_):
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for channel in self.channels:
            await channel.close()

    async def finish(self, limit):
        """Waits until every session is over for its watchers."""
        await asyncio.wait_for(asyncio.gather(*self.tasks), limit)

    def problems(self):
        return [problem for each in self.all for problem in each.problems]

    def events(self):
        return sum((each.events for each in self.all), collections.Counter())

    def broken(self):
        """How many streams did not end with OK."""
        return sum(self.ends.values()) - self.ends["OK"]

    def received(self, event):
        """How many watchers got an event at least once."""
        return sum(1 for each in self.all if each.events[event])


class Calls:
    """Unary calls at a steady rate. Only the service config retries them."""

    def __init__(self, address, sessions, rate=40):
        [self.channel] = channels(address, 1)
        self.stub = stubs.RemoteSupportServiceStub(self.channel)
        self.sessions, self.rate = sessions, rate
        self.good, self.errors, self.calls, self.task = 0, collections.Counter(), set(), None

    async def __aenter__(self):
        self.task = asyncio.create_task(self.run())
        return self

    async def __aexit__(self, *_):
        self.task.cancel()
        await asyncio.gather(self.task, *self.calls, return_exceptions=True)
        await self.channel.close()

    async def run(self):
        while True:
            call = asyncio.create_task(self.call(random.choice(self.sessions)))
            self.calls.add(call)
            call.add_done_callback(self.calls.discard)
            await asyncio.sleep(1 / self.rate)

    async def call(self, session):
        request = messages.GetSessionRequest(session_id=session)
        try:
            await self.stub.GetSession(request, timeout=15, metadata=metadata(session))
            self.good += 1
        except grpc.aio.AioRpcError as error:
            self.errors[f"{error.code().name}: {error.details()}"] += 1
