#!/usr/bin/env bash
# A Python client on a Unix socket, with the one option that it needs there and without it.
set -euo pipefail
source "$(dirname "$0")/checks.bash"
source "$(dirname "$0")/clients.bash"
copy_tree
build_python

socket=$INTEROP_SCRATCH/grpc.sock
log=$INTEROP_SCRATCH/serve.log
"$INTEROP_BINARY" serve --listen "unix:$socket" --admin-listen 127.0.0.1:0 --drain-delay 0s \
    --upstream-url "$INTEROP_VENDOR/G2A/rest/v1" --log-format json 2>"$log" &
serve=$!
trap 'kill -9 "$serve" 2>/dev/null || true' EXIT

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

# Asks grpc.health.v1 with these channel options.
health() {
    "$INTEROP_TOOLS/venv/bin/python" - "unix:$socket" "$@" <<'END'
import sys

import grpc

target, *options = sys.argv[1:]
channel = grpc.insecure_channel(target, [option.split("=", 1) for option in options])
check = channel.unary_unary("/grpc.health.v1.Health/Check")
try:
    print("answer", check(b"", timeout=10))
except grpc.RpcError as error:
    sys.exit(f"{error.code().name}: {error.details()}")
END
}

check "a service on a Unix socket" logged '"message":"serving"'
status_is 0
check "grpcio with grpc.default_authority" health grpc.default_authority=localhost
status_is 0
has "answer b'\\x08\\x01'"
# If this is good one day, the option can leave the README.
check "grpcio without it is refused by HTTP/2" health
status_is 1
has INTERNAL
check "our own client" "$INTEROP_BINARY" health --server "unix:$socket"
status_is 0
has SERVING
finish
