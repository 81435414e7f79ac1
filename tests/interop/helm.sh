#!/usr/bin/env bash
# The Helm chart: linted, rendered with every values file, checked against the schemas of Kubernetes,
# Istio and the Prometheus operator, and its settings given to the real binary.
#
# helm and the schemas of Istio and the operator come as Go modules, Kubernetes' schemas from PyPI:
# no cluster and no chart repository is asked. Building helm takes a few minutes, once.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
tools=${INTEROP_TOOLS:-$root/target/interop}
export INTEROP_BINARY=${INTEROP_BINARY:-$root/target/debug/gotoassist-grpc}
export INTEROP_SCRATCH=${INTEROP_SCRATCH:-$tools/helm-run}
helm=v3.18.6
istio=istio.io/api@v1.27.0
operator=github.com/prometheus-operator/prometheus-operator@v0.85.0

if ! command -v go >/dev/null; then
    echo "Go is not installed"
    exit 77
fi
if [[ ! -x $tools/helm-$helm/helm ]]; then
    GOBIN=$tools/helm-$helm GOFLAGS=-mod=mod go install "helm.sh/helm/v3/cmd/helm@$helm"
fi
requirements=$root/tests/interop/chart/requirements.txt
if ! cmp -s "$requirements" "$tools/chart/installed.txt"; then
    rm -rf "$tools/chart"
    python3 -m venv "$tools/chart"
    "$tools/chart/bin/pip" install --quiet --disable-pip-version-check --requirement "$requirements"
    cp "$requirements" "$tools/chart/installed.txt"
fi
# Where the module's files are.
folder() {
    (cd / && GOFLAGS=-mod=mod go mod download -json "$1") | sed -nE 's/^\t"Dir": "(.*)",$/\1/p'
}
CHART_SCHEMAS=$(folder "$istio")/kubernetes:$(folder "$operator")/example/prometheus-operator-crd
export CHART_SCHEMAS HELM=$tools/helm-$helm/helm
mkdir -p "$INTEROP_SCRATCH"
exec "$tools/chart/bin/python" "$root/tests/interop/chart/check.py"
