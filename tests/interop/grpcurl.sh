#!/usr/bin/env bash
# The real grpcurl, by reflection alone: no .proto at hand.
set -euo pipefail
source "$(dirname "$0")/checks.bash"

version=v1.9.4
grpcurl=$INTEROP_TOOLS/grpcurl-$version/grpcurl
if [[ ! -x $grpcurl ]]; then
    if ! command -v go >/dev/null; then
        echo "it needs Go, to install grpcurl"
        exit 77
    fi
    echo "installing grpcurl $version"
    GOBIN=$(dirname "$grpcurl") go install "github.com/fullstorydev/grpcurl/cmd/grpcurl@$version"
fi

# grpcurl with a limit, so that nothing hangs.
plain() { "$grpcurl" -plaintext -max-time 60 "$@"; }
call() {
    local method=$1 request=$2
    shift 2
    plain -H "authorization: Bearer $token" "$@" -d "$request" "$INTEROP_SERVICE" "$service/$method"
}
piped() { printf '%s' "$1" | call "$2" @; }

check "list" plain "$INTEROP_SERVICE" list
status_is 0
has "$service" grpc.health.v1.Health grpc.reflection.v1.ServerReflection \
    grpc.reflection.v1alpha.ServerReflection

check "list the methods" plain "$INTEROP_SERVICE" list "$service"
status_is 0
has "$service.GetSession" "$service.ListSystemLinks" "$service.WatchSession"

check "describe the service, with its documentation" plain "$INTEROP_SERVICE" describe "$service"
status_is 0
has "rpc GetSession ( .$package.GetSessionRequest ) returns ( .$package.GetSessionResponse )" \
    "returns ( stream .$package.WatchSessionResponse )"

# Every message and enum of the protos, so that none is forgotten here.
names=$(grep -hoE '^(message|enum) [A-Za-z]+' proto/gotoassist/remotesupport/v1/*.proto)
while read -r kind name; do
    check "describe $name" plain "$INTEROP_SERVICE" describe "$package.$name"
    status_is 0
    has "$package.$name is a" "$kind $name {" "//"
done <<<"$names"

check "describe a field's vendor name" plain "$INTEROP_SERVICE" describe "$package.SystemLink"
has 'json_name = "callbackURL"' 'debug_redact = true'

check "a template for a request" \
    plain -msg-template "$INTEROP_SERVICE" describe "$package.WatchSessionRequest"
status_is 0
has '"sessionId": ""' '"resumeToken": ""' '"heartbeatInterval"' '"followAfterEnd"'

check "GetSession, with the vendor's names" call GetSession '{"session_id": "250040353"}'
status_is 0
has '"sessionId": "250040353"' '"sessionType": "screen_sharing"' \
    '"status": "SESSION_STATUS_COMPLETE"' '"upstreamStatus": "complete"' \
    '"accountKey": "1842200297248054807"' '"expertName"' '"expertEmail"' '"expertUserKey"' \
    '"partnerObject": "8817265"' '"partnerObjectUrl"' '"startedAt": "2' '"customerJoinedAt": "2' \
    '"endedAt": "2' '"unattendedMachineName"' '"unattendedMachineUuid"' '"accountName"' \
    '"customerName"' '"customerEmail"' '"customerJoinUrl"' '"notes"' '"sessionRecordingUrl"' \
    '"collaborators"' '"additionalFields"' '"sessionStartToken"' '"observedAt": "2'

check "GetSession by the JSON name, from a pipe" piped '{"sessionId": "250040355"}' GetSession
status_is 0
has '"accountKey": "99999822536216596540"' '"partnerObject": "-18422002972480548071"'

check "GetSession of what is not there yet" call GetSession '{"session_id": "250040354"}'
status_is 0
has '"SESSION_STATUS_NOT_STARTED"'
has_not '"notes"' '"endedAt"' '"customerName"'

check "ListSystemLinks" call ListSystemLinks '{"system_domain": "two.example.com"}'
status_is 0
has '"systemLinks"' '"systemName": "Billing"' '"systemDomain": "two.example.com"' '"userEmail"' \
    '"userToken"' '"callbackURL": "https://helpdesk.example.com/callback"'

check "ListSystemLinks from a pipe" piped '{"systemDomain": "unknown.example.com"}' ListSystemLinks
status_is 0

check "a session is put" curl -fsS -X PUT "$INTEROP_VENDOR/control/sessions/interop" \
    -H 'content-type: application/json' \
    -d '{"steps": [{"at": 0, "status": "waiting"}, {"at": 2, "status": "active"},
                   {"at": 4, "status": "complete"}]}'
status_is 0

check "WatchSession, from the first to the last message" \
    call WatchSession '{"session_id": "interop"}'
status_is 0
has '"EVENT_TYPE_SNAPSHOT"' '"EVENT_TYPE_CHANGED"' '"transitions"' \
    '"fromStatus": "SESSION_STATUS_WAITING"' '"toStatus": "SESSION_STATUS_COMPLETE"' \
    '"changedFields"' '"customerJoinedAt"' '"resumeToken"' '"terminal": true'

check "WatchSession of a finished session, from a pipe" \
    piped '{"sessionId": "250040304"}' WatchSession
status_is 0
has '"EVENT_TYPE_SNAPSHOT"' '"terminal": true'
has_not '"EVENT_TYPE_CHANGED"'

check "an error, with its details" call GetSession '{"session_id": "nobody"}'
status_is 69 # 64 + NOT_FOUND
has 'Code: NotFound' '"@type": "type.googleapis.com/google.rpc.ErrorInfo"' \
    '"reason": "SESSION_NOT_FOUND"' '"domain": "remotesupport.gotoassist"' '"http_status": "404"' \
    '"@type": "type.googleapis.com/google.rpc.ResourceInfo"' '"resourceName": "nobody"'

check "an argument that is refused" call ListSystemLinks '{"system_domain": ""}'
status_is 67 # 64 + INVALID_ARGUMENT
has '"reason": "ARGUMENT_INVALID"' '"field": "system_domain"'

check "no credential" plain -d '{"session_id": "250040353"}' "$INTEROP_SERVICE" "$service/GetSession"
status_is 80 # 64 + UNAUTHENTICATED
has '"reason": "CREDENTIAL_MISSING"' '"@type": "type.googleapis.com/google.rpc.Help"'

check "an error before the first message of a watch" call WatchSession '{"session_id": "nobody"}'
status_is 69
has '"reason": "SESSION_NOT_FOUND"'

check "a deadline ends a watch" call WatchSession '{"session_id": "250040302"}' -max-time 2
status_is 68 # 64 + DEADLINE_EXCEEDED
has '"EVENT_TYPE_SNAPSHOT"'

for name in "" "$service"; do
    check "health of '$name'" \
        plain -d "{\"service\": \"$name\"}" "$INTEROP_SERVICE" grpc.health.v1.Health/Check
    status_is 0
    has '"status": "SERVING"'
done

finish
