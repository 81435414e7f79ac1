"""A client of gotoassist-grpc: one session, the links of a domain, or a watch that resumes by
itself. It prints proto3 JSON, one message a line."""

import json
import os
import random
import sys
import time
from pathlib import Path
from urllib.parse import quote_plus

import grpc
from google.protobuf.json_format import MessageToJson
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from gotoassist.remotesupport.v1 import remote_support_service_pb2 as api
from gotoassist.remotesupport.v1 import remote_support_service_pb2_grpc as stubs

DEADLINE = 10  # seconds, for a unary call
LONGEST_WATCH = 3600  # seconds for one stream; after it, the watch resumes
FIRST_DELAY, LONGEST_DELAY = 0.5, 30  # seconds between two streams
WORTH_RESUMING = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.ABORTED,
}
# Without a reason, these codes mean a broken connection. With a reason, they come from the service
# and are final.
WORTH_RESUMING_WITHOUT_REASON = {
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.CANCELLED,
}


class AccessToken(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Sends the vendor's access token with every call.

    Over TLS, grpc.access_token_call_credentials(token) does the same.
    """

    def __init__(self, token):
        self._metadata = ("authorization", f"Bearer {token}")

    def _with_token(self, proceed, details, request):
        metadata = [*(details.metadata or ()), self._metadata]
        return proceed(details._replace(metadata=metadata), request)

    intercept_unary_unary = intercept_unary_stream = _with_token


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
            if not worth_resuming(error):
                raise
            pause = retry_delay(error)
            if pause is None:
                pause = random.uniform(0, delay)
                delay = min(2 * delay, LONGEST_DELAY)
        time.sleep(pause)


def session_metadata(session_id):
    """Metadata with the session. A proxy can then route all callers of a session to the same
    replica, where they share a poll."""
    return (("session-id", quote_plus(session_id)),)


def worth_resuming(error):
    code = error.code()
    if code in WORTH_RESUMING_WITHOUT_REASON:
        return next(details(error, error_details_pb2.ErrorInfo), None) is None
    return code in WORTH_RESUMING


def details(error, kind):
    """The details of one kind in an error of the service."""
    status = rpc_status.from_call(error)
    for packed in status.details if status else ():
        detail = kind()
        if packed.Unpack(detail):
            yield detail


def retry_delay(error):
    """How many seconds the service asks to wait, or None."""
    for info in details(error, error_details_pb2.RetryInfo):
        return info.retry_delay.ToTimedelta().total_seconds()
    return None


def describe(error):
    """The content of an error: its code, its reason, and which arguments were wrong."""
    failure = {"code": error.code().name, "message": error.details()}
    for info in details(error, error_details_pb2.ErrorInfo):
        failure["reason"] = info.reason
        if info.metadata:
            failure["metadata"] = dict(info.metadata)
    if (delay := retry_delay(error)) is not None:
        failure["retryDelaySeconds"] = delay
    for bad_request in details(error, error_details_pb2.BadRequest):
        failure["violations"] = {v.field: v.description for v in bad_request.field_violations}
    return json.dumps({"error": failure})


def show(message):
    print(MessageToJson(message, indent=None), flush=True)


def main(command, *names):
    service = stubs.RemoteSupportServiceStub(connect())
    failed = False
    for name in names:
        try:
            if command == "get":
                request = api.GetSessionRequest(session_id=name)
                show(service.GetSession(request, timeout=DEADLINE, metadata=session_metadata(name)))
            elif command == "links":
                request = api.ListSystemLinksRequest(system_domain=name)
                show(service.ListSystemLinks(request, timeout=DEADLINE))
            elif command == "watch":
                for message in watch(service, name):
                    show(message)
        except grpc.RpcError as error:
            print(describe(error), flush=True)
            failed = True
    return int(failed)


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in ("get", "links", "watch"):
        sys.exit("usage: client.py get SESSION... | links DOMAIN... | watch SESSION")
    sys.exit(main(*sys.argv[1:]))
