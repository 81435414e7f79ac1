#!/usr/bin/env bash
# How soon the service is ready and how much memory it has then, with nobody calling: the median of
# several starts, since a machine is not always quiet. What the release binary is held to is what
# the project promises; a debug binary is larger and slower, and is only kept from running away.
#
#   tests/interop/run --release footprint
set -euo pipefail
source "$(dirname "$0")/checks.bash"
if [[ ! -r /proc/self/status ]] || ! command -v python3 >/dev/null; then
    echo "it needs Linux's /proc and Python"
    exit 77
fi

case $INTEROP_BINARY in
*/release/*) limits=(100 20) ;;
*) limits=(400 50) ;;
esac
for traces in "" "--otlp-endpoint http://127.0.0.1:9"; do
    # shellcheck disable=SC2086
    check "ready within ${limits[0]} ms and idle in ${limits[1]} MB${traces:+ with $traces}" \
        python3 tests/interop/footprint/measure.py "${limits[@]}" $traces
    status_is 0
    conclude
    printf '%s\n' "$output"
done
finish
