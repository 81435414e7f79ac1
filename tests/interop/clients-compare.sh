#!/usr/bin/env bash
# All clients print the same JSON, byte for byte once it is normalised, also across restarts.
set -euo pipefail
source "$(dirname "$0")/checks.bash"
source "$(dirname "$0")/clients.bash"

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
python3 "$(dirname "$0")/clients_compare.py" "$0" "${languages[@]}" || checks_failed=1
exit "$checks_failed"
