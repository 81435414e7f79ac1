#!/usr/bin/env bash
# HTTP/2 to the letter: h2spec's sections `generic` and `http2`. It knows no gRPC, so some of what it
# expects cannot be; those are listed in h2spec/known.txt with the reason, and must fail at hyper's own
# server too, with nothing of ours around it. What fails here and not there is a fault.
set -euo pipefail
source "$(dirname "$0")/checks.bash"

version=v2.2.1+incompatible
h2spec=$INTEROP_TOOLS/h2spec/h2spec
if [[ ! -x $h2spec ]]; then
    if ! command -v go >/dev/null; then
        echo "it needs Go, to install h2spec"
        exit 77
    fi
    echo "installing h2spec $version"
    GOBIN=$(dirname "$h2spec") go install "github.com/summerwind/h2spec/cmd/h2spec@$version"
fi

service=
bare=
end_both() {
    kill -9 $service $bare 2>/dev/null || true
}
trap end_both EXIT
# One call at a time: h2spec sends one more than the service allows, all of which it has to send before
# the first is answered. Of a thousand it would not manage.
log=$INTEROP_SCRATCH/serve.log
"$INTEROP_BINARY" serve --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --max-streams 1 \
    --upstream-url "$INTEROP_VENDOR/G2A/rest/v1" --log-format json 2>"$log" &
service=$!
address=
for _ in {1..100}; do
    address=$(sed -nE '/"message":"serving"/s/.*"address":"([^"]+)".*/\1/p' "$log")
    if [[ -n $address ]]; then
        break
    fi
    sleep 0.1
done
cargo build --quiet --locked --example bare_hyper
"$INTEROP_TOOLS/../debug/examples/bare_hyper" >"$INTEROP_SCRATCH/bare" &
bare=$!
timeout 10 bash -c 'until [[ -s $1 ]]; do sleep 0.1; done' _ "$INTEROP_SCRATCH/bare"

# report ADDRESS FILE: what h2spec finds at the address, as a report. Its exit status only says that
# something failed, which is expected.
report() {
    "$h2spec" generic http2 --host "${1%:*}" --port "${1##*:}" --timeout 2 --junit-report "$2" \
        >"$INTEROP_SCRATCH/output" 2>&1 || true
}

# Some cases race: the answer may be there before the offence is read. So a case has failed only if
# it fails three times.
reports=()
for round in 1 2 3; do
    report "$address" "$INTEROP_SCRATCH/report-$round.xml"
    report "$(cat "$INTEROP_SCRATCH/bare")" "$INTEROP_SCRATCH/report-$round.xml.bare"
    reports+=("$INTEROP_SCRATCH/report-$round.xml")
    if python3 tests/interop/h2spec/judge.py "${reports[@]}" >/dev/null 2>&1; then
        break
    fi
done
check "a report" test -s "${reports[0]}"
status_is 0
check "nothing fails that does not at bare hyper, and all that is known does" python3 tests/interop/h2spec/judge.py "${reports[@]}"
status_is 0
conclude
printf '%s\n' "$output"
check "the service is well afterwards" \
    "$INTEROP_BINARY" get 250040353 --server "http://$address" --token "$token"
status_is 0
finish
