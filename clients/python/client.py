"""A client of gotoassist-grpc: one session, the sessions of the last day with a status, the links
of a domain, or watches that resume by themselves. It prints proto3 JSON, one message a line."""

import json
import os
import random
import sys
import time
from pathlib import Path
from urllib.parse import quote_plus

import grpc
from google.protobuf.json_format import MessageToJson
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from gotoassist.remotesupport.v1 import remote_support_service_pb2 as api
from gotoassist.remotesupport.v1 import remote_support_service_pb2_grpc as stubs
from gotoassist.remotesupport.v1 import session_pb2

DEADLINE = 10  # seconds, for a unary call
LONGEST_WATCH = 3600  # seconds for one stream; after it, the watch resumes
FIRST_DELAY, LONGEST_DELAY = 0.5, 30  # seconds between two streams
WORTH_RESUMING = {
    code_pb2.UNAVAILABLE,
    code_pb2.RESOURCE_EXHAUSTED,
    code_pb2.DEADLINE_EXCEEDED,
    code_pb2.ABORTED,
}
# Without a reason, these codes mean a broken connection. With a reason, they come from the service
# and are final.
WORTH_RESUMING_WITHOUT_REASON = {code_pb2.INTERNAL, code_pb2.UNKNOWN, code_pb2.CANCELLED}


class AccessToken(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Sends the vendor's access token with every call.

    Over TLS, grpc.access_token_call_credentials(token) does the same.
    """

    def __init__(self, token):
        self._metadata = ("authorization", f"Bearer {token}")

    def _with_token(self, proceed, details, request):
        metadata = [*(details.metadata or ()), self._metadata]
        return proceed(details._replace(metadata=metadata), request)

    intercept_unary_unary = intercept_unary_stream = intercept_stream_stream = _with_token


def connect():
    # Pings detect a server that has vanished.
    options = [("grpc.keepalive_time_ms", 30_000), ("grpc.keepalive_timeout_ms", 10_000)]
    if path := os.environ.get("GOTOASSIST_SERVICE_CONFIG"):
        options.append(("grpc.service_config", Path(path).read_text()))
    # Use grpc.secure_channel if the service is not on this machine.
    channel = grpc.insecure_channel(os.environ["GOTOASSIST_SERVER"], options)
    return grpc.intercept_channel(channel, AccessToken(os.environ["GOTOASSIST_TOKEN"]))


def watch(service, session_id):
    """Yields every message of a session until the session is over.

    If a stream ends earlier, a new stream continues after the last message, so no message is lost
    or repeated.
    """
    request = api.WatchSessionRequest(session_id=session_id)
    delay = FIRST_DELAY
    while True:
        try:
            for message in service.WatchSession(
                request, timeout=LONGEST_WATCH, metadata=session_metadata(session_id)
            ):
                yield message
                request.resume_token = message.resume_token
                delay = FIRST_DELAY
            return  # OK means that the last message was terminal
        except grpc.RpcError as error:
            if not worth_resuming(status_of(error)):
                raise
            delay = pause(status_of(error), delay)


def watch_many(service, session_ids):
    """Yields every message of many sessions, on one stream, until all of them have ended.

    After any other end of the stream, a new one goes on with each session after its last message.
    """
    requests = {
        session_id: api.WatchSessionRequest(session_id=session_id) for session_id in session_ids
    }
    delay = FIRST_DELAY
    while requests:
        add = api.WatchSessionsRequest.Add(sessions=requests.values())
        # This closes the client's side after the message, so the stream ends with the last session.
        asked = iter([api.WatchSessionsRequest(add=add)])
        stream = service.WatchSessions(asked, timeout=LONGEST_WATCH)
        failure = None
        try:
            for message in stream:
                if message.HasField("ended"):
                    if worth_resuming(message.ended):
                        failure = message.ended
                        break  # to begin again with all sessions, this one too
                    del requests[message.session_id]
                yield message
                if message.HasField("update"):
                    requests[message.session_id].resume_token = message.update.resume_token
                delay = FIRST_DELAY
        except grpc.RpcError as error:
            if not worth_resuming(status_of(error)):
                raise
            failure = status_of(error)
        stream.cancel()
        if failure:
            delay = pause(failure, delay)


def pause(failure, delay):
    """Waits until the next stream may begin: as long as the service asks, or a random part of the
    delay. Returns the delay after it."""
    asked = retry_delay(failure)
    if asked is not None:
        time.sleep(asked)
        return delay
    time.sleep(random.uniform(0, delay))
    return min(2 * delay, LONGEST_DELAY)


def session_metadata(session_id):
    """Metadata with the session. A proxy can then route all callers of a session to the same
    replica, where they share a poll."""
    return (("session-id", quote_plus(session_id)),)


def status_of(error):
    """The google.rpc.Status of an error."""
    code, _ = error.code().value
    return rpc_status.from_call(error) or status_pb2.Status(code=code, message=error.details())


def worth_resuming(status):
    if status.code in WORTH_RESUMING_WITHOUT_REASON:
        return next(details(status, error_details_pb2.ErrorInfo), None) is None
    return status.code in WORTH_RESUMING


def details(status, kind):
    """The details of that kind which the service has sent with a status."""
    for packed in status.details:
        detail = kind()
        if packed.Unpack(detail):
            yield detail


def retry_delay(status):
    """How many seconds the service asks to wait, or None."""
    for info in details(status, error_details_pb2.RetryInfo):
        return info.retry_delay.ToTimedelta().total_seconds()
    return None


def describe(error):
    """The content of an error: its code, its reason, and which arguments were wrong."""
    status = status_of(error)
    failure = {"code": error.code().name, "message": error.details()}
    for info in details(status, error_details_pb2.ErrorInfo):
        failure["reason"] = info.reason
        if info.metadata:
            failure["metadata"] = dict(info.metadata)
    if (delay := retry_delay(status)) is not None:
        failure["retryDelaySeconds"] = delay
    for bad_request in details(status, error_details_pb2.BadRequest):
        failure["violations"] = {v.field: v.description for v in bad_request.field_violations}
    return json.dumps({"error": failure})


def pages(service, status):
    """The pages of the list of the last day. The token of each page leads to the next one."""
    token = ""
    while True:
        request = api.ListSessionsRequest(statuses=[status], page_size=1000, page_token=token)
        page = service.ListSessions(request, timeout=DEADLINE)
        yield page
        if not (token := page.next_page_token):
            return


def show(message):
    print(MessageToJson(message, indent=None), flush=True)


def main(command, *names):
    service = stubs.RemoteSupportServiceStub(connect())
    failed = False
    # One stream for all names, or one call for each.
    for name in [names] if command == "watch-many" else names:
        try:
            if command == "get":
                request = api.GetSessionRequest(session_id=name)
                show(service.GetSession(request, timeout=DEADLINE, metadata=session_metadata(name)))
            elif command == "sessions":
                status = session_pb2.SessionStatus.Value(f"SESSION_STATUS_{name.upper()}")
                for page in pages(service, status):
                    show(page)
            elif command == "links":
                request = api.ListSystemLinksRequest(system_domain=name)
                show(service.ListSystemLinks(request, timeout=DEADLINE))
            elif command == "watch":
                for message in watch(service, name):
                    show(message)
            elif command == "watch-many":
                for message in watch_many(service, name):
                    show(message)
                    failed |= message.HasField("ended") and message.ended.code != code_pb2.OK
        except grpc.RpcError as error:
            print(describe(error), flush=True)
            failed = True
    return int(failed)


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in ("get", "sessions", "links", "watch", "watch-many"):
        sys.exit(
            "usage: client.py {get|watch|watch-many} SESSION..."
            " | sessions STATUS... | links DOMAIN..."
        )
    sys.exit(main(*sys.argv[1:]))
