#!/usr/bin/env bash
# The status page in a real browser, headless: what it shows, at phone and desk width, in light and
# dark, without script. Screenshots stay in INTEROP_TOOLS/status_page. Needs Debian's `chromium`.
set -euo pipefail
source "$(dirname "$0")/checks.bash"
browser=$(command -v chromium || command -v google-chrome || true)
if [[ -z $browser ]] || ! command -v python3 >/dev/null; then
    echo "it needs Chromium and Python (Debian: chromium, python3)"
    exit 77
fi

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
admin=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
server=(--server "http://127.0.0.1:$port" --token "$token")
started=()
end_started() {
    kill "${started[@]}" 2>/dev/null || true
    wait
}
trap end_started EXIT
"$INTEROP_BINARY" serve --listen "127.0.0.1:$port" --admin-listen "127.0.0.1:$admin" \
    --upstream-url "$INTEROP_VENDOR/G2A/rest/v1" >"$INTEROP_SCRATCH/serve" 2>&1 &
started+=($!)
check "the service starts" timeout 30 bash -c 'until "$@" >/dev/null 2>&1; do sleep 0.2; done' _ \
    "$INTEROP_BINARY" health --server "http://127.0.0.1:$port"
status_is 0
check "a call that fails" "$INTEROP_BINARY" get nobody "${server[@]}"
status_is 69
for session in 250040302 250040303 250040303; do
    "$INTEROP_BINARY" watch "$session" "${server[@]}" >/dev/null 2>&1 &
    started+=($!)
done

mkdir -p "$INTEROP_TOOLS/status_page"
check "the page in Chromium" timeout 120 python3 tests/interop/status_page/browse.py \
    "$browser" "http://127.0.0.1:$admin/" "$INTEROP_TOOLS/status_page"
status_is 0
conclude
printf '%s\n' "$output"
finish
