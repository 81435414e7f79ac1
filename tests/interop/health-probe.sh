#!/usr/bin/env bash
# The real grpc-health-probe, which older Kubernetes and Docker health checks use.
set -euo pipefail
source "$(dirname "$0")/checks.bash"

version=v0.4.61
probe=$INTEROP_TOOLS/grpc-health-probe-$version/grpc-health-probe
if [[ ! -x $probe ]]; then
    if ! command -v go >/dev/null; then
        echo "it needs Go, to install grpc-health-probe"
        exit 77
    fi
    echo "installing grpc-health-probe $version"
    GOBIN=$(dirname "$probe") go install "github.com/grpc-ecosystem/grpc-health-probe@$version"
fi

check "the whole service" "$probe" -addr "$INTEROP_SERVICE"
status_is 0
has "status: SERVING"

check "the API by its name" "$probe" -addr "$INTEROP_SERVICE" -service "$service"
status_is 0
has "status: SERVING"

check "a name that nobody serves" "$probe" -addr "$INTEROP_SERVICE" -service nobody
status_is 3 # the call failed
has NotFound

free=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
check "an address where nobody listens" "$probe" -addr "127.0.0.1:$free" -connect-timeout 2s
status_is 2 # no connection

# A service that drains: alive, NOT_SERVING.
log=$INTEROP_SCRATCH/serve.log
"$INTEROP_BINARY" serve --listen "unix:$INTEROP_SCRATCH/grpc.sock" --admin-listen 127.0.0.1:0 \
    --upstream-url "$INTEROP_VENDOR/G2A/rest/v1" --drain-delay 30s --drain-grace 60s --log-format json 2>"$log" &
draining=$!
trap 'kill -9 "$draining" 2>/dev/null || true' EXIT

logged() {
    local _
    for _ in {1..300}; do
        if grep -q "$1" "$log"; then
            return
        fi
        sleep 0.1
    done
    return 1
}

check "a service on a Unix socket" logged '"message":"serving"'
status_is 0
check "is probed there" "$probe" -addr "unix:$INTEROP_SCRATCH/grpc.sock"
status_is 0
kill "$draining"
check "it is told to end" logged '"message":"draining'
status_is 0
check "and says NOT_SERVING while it drains" "$probe" -addr "unix:$INTEROP_SCRATCH/grpc.sock" -service "$service"
status_is 4 # unhealthy
has NOT_SERVING
finish
