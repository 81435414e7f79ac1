#!/usr/bin/env bash
# clients/service-config.json gives gRPC libraries retries, pushback and health checks, without a
# line of code for it in the client.
set -euo pipefail
source "$(dirname "$0")/checks.bash"
source "$(dirname "$0")/clients.bash"

# One client, for clients_service_config.py.
if [[ ${1-} == --run ]]; then
    shift
    run_client "$@"
    exit
fi

copy_tree
languages=(go java python) # Connect has no service config
for language in "${languages[@]}"; do
    check "the client in $language is built" "build_$language"
    status_is 0
done
conclude
python3 "$(dirname "$0")/clients_service_config.py" "$0" "${languages[@]}" || checks_failed=1
exit "$checks_failed"
