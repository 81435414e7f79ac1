#!/usr/bin/env bash
# A short load with the real ghz, by reflection: every call is answered, and fast enough that only a
# service that is broken fails here.
set -euo pipefail
source "$(dirname "$0")/checks.bash"

version=v0.93.0
ghz=$INTEROP_TOOLS/ghz-$version/ghz
if ! command -v python3 >/dev/null; then
    echo "it needs python3"
    exit 77
fi
if [[ ! -x $ghz ]]; then
    if ! command -v go >/dev/null; then
        echo "it needs Go, to install ghz"
        exit 77
    fi
    echo "installing ghz $version"
    GOBIN=$(dirname "$ghz") go install "github.com/bojand/ghz/cmd/ghz@$version"
fi

# Puts load on a method and prints one line: the calls by status, and latencies.
load() {
    local method=$1 request=$2
    shift 2
    "$ghz" --insecure --call "$service.$method" --metadata "{\"authorization\": \"Bearer $token\"}" \
        --data "$request" --timeout 30s --format json "$@" "$INTEROP_SERVICE" | python3 -c '
import json, sys
report = json.load(sys.stdin)
slow = {each["percentage"]: each["latency"] / 1e6 for each in report["latencyDistribution"]}
print(report["statusCodeDistribution"], "%.0f/s" % report["rps"],
      "median %.1f ms, p99 %.1f ms" % (slow[50], slow[99]))'
}

# A finished session is served from memory, whatever the vendor allows.
check "a session is read" load GetSession '{"session_id": "250040304"}' --total 1
status_is 0

check "5000 calls on 50 connections" \
    load GetSession '{"session_id": "250040304"}' --total 5000 --concurrency 50 --connections 50
status_is 0
has "{'OK': 5000}"
report=$output

check "1000 watches of a finished session" \
    load WatchSession '{"session_id": "250040304"}' --total 1000 --concurrency 100 --connections 5
status_is 0
has "{'OK': 1000}"
conclude

echo "GetSession: $report"
echo "WatchSession: $output"
finish
