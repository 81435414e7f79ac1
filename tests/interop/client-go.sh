#!/usr/bin/env bash
# The client example in clients/go, with stubs generated from the .proto just now.
set -euo pipefail
source "$(dirname "$0")/checks.bash"
source "$(dirname "$0")/clients.bash"
check_client go
