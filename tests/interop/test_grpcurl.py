"""Calls the service with the real grpcurl. It uses only reflection and no .proto files."""

import json
import re

import pytest

from tools import ROOT, go_program, run

PACKAGE = "gotoassist.remotesupport.v1"
SERVICE = f"{PACKAGE}.RemoteSupportService"
CREDENTIAL = ("-H", "authorization: Bearer interop")
# Every message and enum. The list is read from the .proto files, so it is always complete.
TYPES = [
    kind_and_name
    for path in sorted((ROOT / "proto/gotoassist/remotesupport/v1").glob("*.proto"))
    for kind_and_name in re.findall(r"^(message|enum) ([A-Za-z]+)", path.read_text(), re.MULTILINE)
]

# The exit status of grpcurl is 64 plus the gRPC code.
INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, UNAUTHENTICATED = 67, 68, 69, 80


@pytest.fixture
def grpcurl(demo):
    """Runs grpcurl with some options, and words that follow the address."""
    program = go_program("github.com/fullstorydev/grpcurl/cmd/grpcurl", "v1.9.4")

    def grpcurl(*words, options=(), stdin=""):
        # A time limit, so that no test hangs.
        limit = () if "-max-time" in options else ("-max-time", "60")
        return run(program, "-plaintext", *limit, *options, demo.address, *words, stdin=stdin)

    return grpcurl


@pytest.fixture
def call(grpcurl):
    """Calls a method of the service."""

    def call(method, options=CREDENTIAL, **request):
        data = ("-d", json.dumps(request))
        return grpcurl(f"{SERVICE}/{method}", options=(*options, *data))

    return call


def test_list(grpcurl):
    grpcurl("list").expect(
        0,
        *(SERVICE, "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"),
        "grpc.reflection.v1alpha.ServerReflection",
    )


def test_list_the_methods(grpcurl):
    methods = ("GetSession", "ListSessions", "ListSystemLinks", "WatchSession")
    grpcurl("list", SERVICE).expect(0, *(f"{SERVICE}.{method}" for method in methods))


def test_describe_the_service(grpcurl):
    grpcurl("describe", SERVICE).expect(
        0,
        f"rpc GetSession ( .{PACKAGE}.GetSessionRequest ) "
        f"returns ( .{PACKAGE}.GetSessionResponse )",
        f"returns ( stream .{PACKAGE}.WatchSessionResponse )",
    )


@pytest.mark.parametrize(("kind", "name"), TYPES)
def test_describe_each_type_with_its_documentation(grpcurl, kind, name):
    grpcurl("describe", f"{PACKAGE}.{name}").expect(
        0, f"{PACKAGE}.{name} is a", f"{kind} {name} {{", "//"
    )


def test_describe_a_field_with_the_vendors_name(grpcurl):
    grpcurl("describe", f"{PACKAGE}.SystemLink").expect(
        0, 'json_name = "callbackURL"', "debug_redact = true"
    )


def test_template_of_a_request(grpcurl):
    words = ("describe", f"{PACKAGE}.WatchSessionRequest")
    grpcurl(*words, options=["-msg-template"]).expect(
        0, '"sessionId": ""', '"resumeToken": ""', '"heartbeatInterval"', '"followAfterEnd"'
    )


def test_protos_can_be_written_for_a_generator_of_stubs(grpcurl, tmp_path):
    grpcurl("describe", SERVICE, options=["-proto-out-dir", str(tmp_path)]).expect(0)
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.proto")}
    folder = PACKAGE.replace(".", "/")
    assert {f"{folder}/remote_support_service.proto", "google/rpc/status.proto"} <= written


def test_get_session_with_the_vendors_names(call):
    call("GetSession", session_id="250040353").expect(
        0,
        *('"sessionId": "250040353"', '"sessionType": "screen_sharing"'),
        *('"status": "SESSION_STATUS_COMPLETE"', '"upstreamStatus": "complete"'),
        *('"accountKey": "1842200297248054807"', '"expertName"', '"expertEmail"'),
        *('"expertUserKey"', '"partnerObject": "8817265"', '"partnerObjectUrl"'),
        *('"startedAt": "2', '"customerJoinedAt": "2', '"endedAt": "2'),
        *('"unattendedMachineName"', '"unattendedMachineUuid"', '"accountName"'),
        *('"customerName"', '"customerEmail"', '"customerJoinUrl"', '"notes"'),
        *('"sessionRecordingUrl"', '"collaborators"', '"additionalFields"'),
        *('"sessionStartToken"', '"observedAt": "2'),
    )


def test_get_session_by_the_json_name_from_a_pipe(grpcurl):
    options = (*CREDENTIAL, "-d", "@")
    request = '{"sessionId": "250040355"}'
    grpcurl(f"{SERVICE}/GetSession", options=options, stdin=request).expect(
        0, '"accountKey": "99999822536216596540"', '"partnerObject": "-18422002972480548071"'
    )


def test_get_session_that_has_not_started(call):
    call("GetSession", session_id="250040354").expect(
        0, '"SESSION_STATUS_NOT_STARTED"', without=['"notes"', '"endedAt"', '"customerName"']
    )


def test_list_sessions_page_by_page(call):
    first = call("ListSessions", statuses=["SESSION_STATUS_ACTIVE"], page_size=1).expect(
        0,
        *('"sessions"', '"status": "SESSION_STATUS_ACTIVE"', '"startedAt": "2', '"nextPageToken"'),
        *('"sessionStartToken"', '"observedAt": "2'),
        without=['"notes"', "SESSION_STATUS_COMPLETE"],
    )
    token = json.loads(first.stdout)["nextPageToken"]
    words = {"statuses": ["SESSION_STATUS_ACTIVE"], "page_token": token}
    call("ListSessions", **words).expect(0, '"sessions"', without=['"nextPageToken"'])
    call("ListSessions", page_token=token).expect(
        INVALID_ARGUMENT, "PAGE_TOKEN_INVALID", '"page_token"'
    )


def test_list_sessions_of_an_impossible_time(call):
    window = {"from_time": "2026-01-02T00:00:00Z", "to_time": "2026-01-01T00:00:00Z"}
    call("ListSessions", **window).expect(INVALID_ARGUMENT, "ARGUMENT_INVALID", '"from_time"')


def test_list_system_links(call):
    call("ListSystemLinks", system_domain="two.example.com").expect(
        0,
        *('"systemLinks"', '"systemName": "Billing"', '"systemDomain": "two.example.com"'),
        *('"userEmail"', '"userToken"', '"callbackURL": "https://helpdesk.example.com/callback"'),
    )


def test_list_system_links_from_a_pipe(grpcurl):
    options = (*CREDENTIAL, "-d", "@")
    request = '{"systemDomain": "unknown.example.com"}'
    grpcurl(f"{SERVICE}/ListSystemLinks", options=options, stdin=request).expect(0)


def test_watch_session_from_the_first_to_the_last_message(call, demo):
    demo.vendor.put("interop", (0, "waiting"), (2, "active"), (4, "complete"))
    call("WatchSession", session_id="interop").expect(
        0,
        *('"EVENT_TYPE_SNAPSHOT"', '"EVENT_TYPE_CHANGED"', '"transitions"'),
        *('"fromStatus": "SESSION_STATUS_WAITING"', '"toStatus": "SESSION_STATUS_COMPLETE"'),
        *('"changedFields"', '"customerJoinedAt"', '"resumeToken"', '"terminal": true'),
    )


def test_watch_session_of_a_finished_session_from_a_pipe(grpcurl):
    options = (*CREDENTIAL, "-d", "@")
    request = '{"sessionId": "250040304"}'
    grpcurl(f"{SERVICE}/WatchSession", options=options, stdin=request).expect(
        0, '"EVENT_TYPE_SNAPSHOT"', '"terminal": true', without=['"EVENT_TYPE_CHANGED"']
    )


def test_error_with_its_details(call):
    call("GetSession", session_id="nobody").expect(
        NOT_FOUND,
        *("Code: NotFound", '"@type": "type.googleapis.com/google.rpc.ErrorInfo"'),
        *('"reason": "SESSION_NOT_FOUND"', '"domain": "remotesupport.gotoassist"'),
        *('"http_status": "404"', '"@type": "type.googleapis.com/google.rpc.ResourceInfo"'),
        '"resourceName": "nobody"',
    )


def test_refused_argument(call):
    call("ListSystemLinks", system_domain="").expect(
        INVALID_ARGUMENT, '"reason": "ARGUMENT_INVALID"', '"field": "system_domain"'
    )


def test_no_credential(call):
    call("GetSession", options=(), session_id="250040353").expect(
        UNAUTHENTICATED,
        *('"reason": "CREDENTIAL_MISSING"', '"@type": "type.googleapis.com/google.rpc.Help"'),
    )


def test_error_before_the_first_message_of_a_watch(call):
    call("WatchSession", session_id="nobody").expect(NOT_FOUND, '"reason": "SESSION_NOT_FOUND"')


def test_deadline_ends_a_watch(call):
    options = (*CREDENTIAL, "-max-time", "2")
    call("WatchSession", options=options, session_id="250040302").expect(
        DEADLINE_EXCEEDED, '"EVENT_TYPE_SNAPSHOT"'
    )


@pytest.mark.parametrize("name", ["", SERVICE], ids=["server", "API"])
def test_health(grpcurl, name):
    options = ("-d", json.dumps({"service": name}))
    grpcurl("grpc.health.v1.Health/Check", options=options).expect(0, '"status": "SERVING"')
