#!/usr/bin/env bash
# All clients print the same JSON, byte for byte once it is normalised, also across restarts, with and
# without an Envoy between.
set -euo pipefail
source "$(dirname "$0")/checks.bash"
source "$(dirname "$0")/clients.bash"
source "$(dirname "$0")/mesh.bash"

# One client, for clients_compare.py.
if [[ ${1-} == --run ]]; then
    shift
    run_client "$@"
    exit
fi

copy_tree
for language in "${languages[@]}"; do
    check "the client in $language is built" "build_$language"
    status_is 0
done
conclude
tools=$INTEROP_TOOLS
install_mesh
MESH_RUN=$INTEROP_SCRATCH "$mesh/bin/python" "$(dirname "$0")/clients_compare.py" "$0" "${languages[@]}" || checks_failed=1
exit "$checks_failed"
