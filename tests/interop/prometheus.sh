#!/usr/bin/env bash
# Real Prometheus against the service: the rules, their tests and the dashboard are well formed, the
# metrics they name exist, a scrape has the form that promtool wants, and Prometheus scrapes the
# service and evaluates the rules. Needs Debian's `prometheus`; about half a minute.
set -euo pipefail
source "$(dirname "$0")/checks.bash"
for tool in promtool prometheus curl python3; do
    if ! command -v "$tool" >/dev/null; then
        echo "it needs $tool (Debian: prometheus, curl, python3)"
        exit 77
    fi
done

started=()
end_started() {
    kill "${started[@]}" 2>/dev/null || true
    wait
}
trap end_started EXIT
start() {
    "$@" >"$INTEROP_SCRATCH/started-${#started[@]}" 2>&1 &
    started+=($!)
}
free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
# Tries a command until it succeeds.
until_good() {
    timeout 30 bash -c 'until "$@" >/dev/null 2>&1; do sleep 0.2; done' _ "$@"
}
scrape() { curl -sf "http://127.0.0.1:$admin/metrics"; }
has_open_watch() { scrape | grep -E 'gotoassist_watches\{status="[a-z]+"\} [1-9]'; }

folder=$PWD/deploy/prometheus
check "the rules are well formed" promtool check rules "$folder/rules.yaml"
status_is 0
check "the rules fire when they should, and only then" promtool test rules "$folder/tests.yaml"
status_is 0

check "compose's Prometheus is configured well" \
    promtool check config --syntax-only deploy/compose/prometheus.yaml
status_is 0

# A service of its own: it has a credential, whose metrics the demo has not.
port=$(free_port) admin=$(free_port) prometheus=$(free_port)
server=(--server "http://127.0.0.1:$port")
start "$INTEROP_BINARY" serve --listen "127.0.0.1:$port" --admin-listen "127.0.0.1:$admin" \
    --upstream-url "$INTEROP_VENDOR/G2A/rest/v1" --token-url "$INTEROP_VENDOR/oauth/token" \
    --credentials service --client-id id --client-secret secret --refresh-token token
check "the service starts" until_good "$INTEROP_BINARY" health "${server[@]}"
status_is 0
check "a call" "$INTEROP_BINARY" get 250040353 "${server[@]}"
status_is 0
check "a call for links" "$INTEROP_BINARY" links one.example.com "${server[@]}"
status_is 0
check "a call that fails" "$INTEROP_BINARY" get nobody "${server[@]}"
status_is 69
check "a watch of a finished session" "$INTEROP_BINARY" watch 250040304 "${server[@]}"
status_is 0
start "$INTEROP_BINARY" watch 250040303 "${server[@]}"
export -f scrape has_open_watch
export admin
check "an open watch is counted" until_good has_open_watch
status_is 0

scrape >"$INTEROP_SCRATCH/metrics"
checked() { promtool check metrics <"$INTEROP_SCRATCH/metrics"; }
check "promtool finds no fault in a scrape" checked
status_is 0
check "the rules, the chart and the dashboard name metrics that are there" \
    python3 tests/interop/prometheus/names.py "$INTEROP_SCRATCH/metrics"
status_is 0

cat >"$INTEROP_SCRATCH/prometheus.yaml" <<YAML
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: ["$folder/rules.yaml"]
scrape_configs:
  - job_name: gotoassist-grpc
    static_configs: [{targets: ["127.0.0.1:$admin"]}]
YAML
start prometheus --config.file "$INTEROP_SCRATCH/prometheus.yaml" \
    --storage.tsdb.path "$INTEROP_SCRATCH/data" --web.listen-address "127.0.0.1:$prometheus"
check "Prometheus scrapes, evaluates the rules, and answers the dashboard" \
    python3 tests/interop/prometheus/scrape.py "http://127.0.0.1:$prometheus"
status_is 0
finish
