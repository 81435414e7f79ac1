# What the suites of the client examples share; source it after checks.bash. It builds them in a copy
# of the tree below $INTEROP_TOOLS: stubs are generated there, and what gets installed stays there.

buf_plugins='google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2'

tree=$INTEROP_TOOLS/clients-tree
languages=(go java python typescript)

needs() {
    local program
    for program in "$@"; do
        if ! command -v "$program" >/dev/null; then
            echo "it needs $program"
            exit 77
        fi
    done
}

# Runs a command unless it ran before with the same words and the same content of a file.
once() {
    local name=$1 file=$2
    shift 2
    local stamp=$tree/.done-$name now
    now=$(echo "$*" | cat - "$file" | sha256sum)
    if [[ ! -f $stamp || $(cat "$stamp") != "$now" ]]; then
        echo "installing: $name"
        "$@"
        echo "$now" >"$stamp"
    fi
}

copy_tree() {
    mkdir -p "$tree"
    (cd "$tree" && rm -rf proto third_party clients/go clients/python clients/java/src clients/typescript/src)
    tar -c --exclude=node_modules --exclude=gen --exclude=dist --exclude=clients/java/target \
        buf.yaml buf.gen.yaml proto third_party clients | tar -x -C "$tree"
}

# Stubs for Go and TypeScript.
generate_with_buf() {
    needs go node npm
    once npm "$tree/clients/typescript/package-lock.json" \
        npm ci --silent --no-audit --no-fund --prefix "$tree/clients/typescript"
    local plugin
    for plugin in $buf_plugins; do
        once "$(basename "${plugin%@*}")" /dev/null \
            env GOBIN="$INTEROP_TOOLS/go-plugins" go install "$plugin"
    done
    (cd "$tree" && PATH=$INTEROP_TOOLS/go-plugins:$PATH clients/typescript/node_modules/.bin/buf generate)
}

build_go() {
    generate_with_buf
    (cd "$tree/clients/go" && go build -o "$tree/go-client" .)
}

build_typescript() {
    generate_with_buf
    (cd "$tree/clients/typescript" && npx --no-install tsc)
}

build_python() {
    needs python3
    once pip "$tree/clients/python/requirements.txt" install_for_python
    mkdir -p "$tree/clients/python/gen"
    "$INTEROP_TOOLS/venv/bin/python" -m grpc_tools.protoc -I "$tree/proto" -I "$tree/third_party" \
        --python_out="$tree/clients/python/gen" --grpc_python_out="$tree/clients/python/gen" \
        "$tree"/proto/gotoassist/remotesupport/v1/*.proto
}

install_for_python() {
    python3 -m venv --clear "$INTEROP_TOOLS/venv"
    "$INTEROP_TOOLS/venv/bin/pip" install --quiet --disable-pip-version-check \
        -r "$tree/clients/python/requirements.txt"
}

build_java() {
    needs java mvn
    mvn --quiet --batch-mode -Dmaven.repo.local="$INTEROP_TOOLS/m2" \
        -f "$tree/clients/java/pom.xml" compile
}

# Runs the client of a language: run_client LANGUAGE get SESSION…
run_client() {
    local language=$1 command
    shift
    case $language in
        go) command=("$tree/go-client") ;;
        java) command=(java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC
            -cp "$tree/clients/java/target/classes:$tree/clients/java/target/lib/*" com.example.Client) ;;
        python) command=(env PYTHONPATH="$tree/clients/python/gen"
            "$INTEROP_TOOLS/venv/bin/python" "$tree/clients/python/client.py") ;;
        typescript) command=(env GOTOASSIST_SERVER="http://$GOTOASSIST_SERVER"
            node "$tree/clients/typescript/dist/src/client.js") ;;
    esac
    timeout 100 "${command[@]}" "$@"
}

# Control API of the simulated vendor.
vendor() {
    local method=$1 path=$2 body=${3-}
    curl -fsS -X "$method" "$INTEROP_VENDOR/control/$path" -H 'content-type: application/json' -d "$body"
}

# The whole suite of one language's client.
check_client() {
    local language=$1
    copy_tree
    check "stubs are generated and the client is built" "build_$language"
    status_is 0
    if [[ $status != 0 ]]; then
        finish
    fi
    export GOTOASSIST_SERVER=$INTEROP_SERVICE GOTOASSIST_TOKEN=$token

    check "several sessions on one connection" run_client "$language" get 250040353 250040354 250040355
    status_is 0
    has 250040353 99999822536216596540 SESSION_STATUS_COMPLETE SESSION_STATUS_NOT_STARTED

    check "the links of a domain" run_client "$language" links two.example.com
    status_is 0
    has systemLinks Billing callbackURL

    check "an unknown session: ErrorInfo" run_client "$language" get nobody
    status_is 1
    has NOT_FOUND SESSION_NOT_FOUND http_status

    check "a refused argument: BadRequest" run_client "$language" links ""
    status_is 1
    has INVALID_ARGUMENT ARGUMENT_INVALID system_domain

    check "a refused credential" env_token bad-token run_client "$language" get 250040353
    status_is 1
    has UNAUTHENTICATED CREDENTIAL_REJECTED

    check "a session is put" vendor PUT "sessions/$language" \
        '{"steps": [{"at": 0, "status": "waiting"}, {"at": 3, "status": "active"}, {"at": 6, "status": "complete"}]}'
    status_is 0
    check "a watch, until the session is over" run_client "$language" watch "$language"
    status_is 0
    has EVENT_TYPE_SNAPSHOT EVENT_TYPE_CHANGED SESSION_STATUS_COMPLETE terminal

    check "a watch of nothing" run_client "$language" watch nobody
    status_is 1
    has SESSION_NOT_FOUND

    check "a watch with a refused argument" run_client "$language" watch ""
    status_is 1
    has INVALID_ARGUMENT ARGUMENT_INVALID

    check "a watch with a refused credential" env_token bad-token run_client "$language" watch 250040353
    status_is 1
    has UNAUTHENTICATED CREDENTIAL_REJECTED

    # Without a reason it would be a broken connection, and worth resuming.
    check "the vendor answers with a web page" vendor POST faults \
        '{"fault": {"kind": "html"}, "sessionId": "250040304"}'
    status_is 0
    check "a watch that ends with INTERNAL and a reason" run_client "$language" watch 250040304
    status_is 1
    has INTERNAL UPSTREAM_MALFORMED_RESPONSE

    # Last, for it stops all traffic to the vendor.
    check "the vendor asks for patience" vendor POST faults \
        '{"fault": {"kind": "status", "status": 429, "retryAfter": 20}, "sessionId": "250040303", "times": 1}'
    status_is 0
    check "and RetryInfo tells so" run_client "$language" get 250040303
    status_is 1
    has RESOURCE_EXHAUSTED UPSTREAM_RATE_LIMITED retryDelaySeconds
    finish
}

env_token() {
    local GOTOASSIST_TOKEN=$1
    export GOTOASSIST_TOKEN
    shift
    "$@"
}
