#!/usr/bin/env bash
# compose.yaml: read by the library that docker compose reads it with, and its commands run with the
# real binary. No container is started and no image pulled; the suite `image` is about the image.
set -euo pipefail
source "$(dirname "$0")/checks.bash"
version=v2.16.2
if ! command -v go >/dev/null; then
    echo "it needs Go, to install compose-go"
    exit 77
fi
reader=$INTEROP_TOOLS/compose-go-$version/cmd
if [[ ! -x $reader ]]; then
    GOBIN=$(dirname "$reader") GOFLAGS=-mod=mod \
        go install "github.com/compose-spec/compose-go/v2/cmd@$version"
fi

check "compose.yaml is what docker compose takes" "$reader" -format json compose.yaml
status_is 0
printf '%s\n' "$output" >"$INTEROP_SCRATCH/project.json"
sed 's/cap_drop:/cap_dorp:/' compose.yaml >"$INTEROP_SCRATCH/compose.yaml"
check "and it would see a slip" "$reader" "$INTEROP_SCRATCH/compose.yaml"
status_is 1
conclude
python3 "$(dirname "$0")/compose.py" "$INTEROP_SCRATCH/project.json" || checks_failed=1
exit "$checks_failed"
