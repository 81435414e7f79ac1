#!/usr/bin/env bash
# The container image: built from the Dockerfile by buildah, looked at, and run.
#
# No image registry is asked. Stand-ins bear the names of the base images: one is made of this
# Debian's C library and CA certificates, as distroless is; the other of a few tools and a `cargo`
# that hands over the binary which is built already. So this shows what the image holds and how it
# runs, not that cargo builds in it, which is CI's first step anyway.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
tools=${INTEROP_TOOLS:-$root/target/interop}
binary=${INTEROP_BINARY:-$root/target/debug/gotoassist-grpc}
scratch=${INTEROP_SCRATCH:-$tools/image-run}

if ! command -v buildah >/dev/null || ! command -v dpkg >/dev/null; then
    echo "buildah on a Debian is not installed"
    exit 77
fi
if [[ $(id -u) != 0 ]]; then
    echo "only root can build in a chroot"
    exit 77
fi
rm -rf "$scratch"
mkdir -p "$scratch"
export BUILDAH_ISOLATION=chroot
buildah() {
    command buildah --root "$scratch/storage" --runroot "$scratch/runroot" --storage-driver vfs "$@"
}
# What is mounted there could not be removed.
clean_up() {
    buildah rm --all >/dev/null 2>&1 || true
    umount "$scratch/storage/vfs" 2>/dev/null || true
}
trap clean_up EXIT
failed=0
check() {
    local what=$1
    shift
    if "$@"; then
        echo "ok $what"
    else
        echo "not ok $what"
        failed=1
    fi
}

# Copies files to a root file system, with the libraries they need.
copy_to() {
    local target=$1 file library
    shift
    for file in "$@"; do
        mkdir -p "$target$(dirname "$file")"
        cp -L "$file" "$target$file"
        for library in $(ldd "$file" 2>/dev/null | grep -oE '/[^ ]+'); do
            mkdir -p "$target$(dirname "$library")"
            cp -Lu "$library" "$target$library"
        done
    done
}
# Makes an image of a root file system.
import() {
    local name=$1 folder=$2 user=$3 container
    container=$(buildah from scratch)
    buildah add --quiet "$container" "$folder" / >/dev/null
    buildah config --user "$user" --env PATH=/usr/local/bin:/usr/bin:/bin "$container" >/dev/null
    buildah commit --quiet --rm "$container" "$name" >/dev/null
}

rust=$(sed -nE 's/^ARG RUST_IMAGE=//p' "$root/Dockerfile")
base=$(sed -nE 's/^ARG BASE_IMAGE=//p' "$root/Dockerfile")
build=$scratch/build
copy_to "$build" /bin/sh /bin/mkdir /bin/rm /bin/cp /usr/bin/touch
cp "$binary" "$build/prebuilt"
strip "$build/prebuilt" 2>/dev/null || true
mkdir -p "$build/usr/local/bin" "$build/tmp"
cat >"$build/usr/local/bin/cargo" <<'END'
#!/bin/sh
for needed in Cargo.toml Cargo.lock build.rs proto/gotoassist third_party/google benches/steps/main.rs src/lib.rs src/main.rs; do
    [ -e "$needed" ] || { echo "not in the build context: $needed"; exit 1; }
done
mkdir -p target/dist && cp /prebuilt target/dist/gotoassist-grpc
END
chmod +x "$build/usr/local/bin/cargo"
mkdir -p "$build/etc"
echo root:x:0:0:root:/root:/bin/sh >"$build/etc/passwd"
import "$rust" "$build" root

bare=$scratch/bare
copy_to "$bare" "$binary" /etc/ssl/certs/ca-certificates.crt
rm "$bare$binary"
find "$bare" -type d -empty -delete
mkdir -p "$bare/etc" "$bare/tmp" "$bare/home/nonroot"
chmod 1777 "$bare/tmp"
echo 'nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin' >"$bare/etc/passwd"
echo 'nonroot:x:65532:' >"$bare/etc/group"
import "$base" "$bare" nonroot

if ! buildah build --quiet --pull-never --format docker --build-arg REVISION=abc123 \
    --ignorefile "$root/.dockerignore" --tag gotoassist-grpc --file "$root/Dockerfile" "$root" \
    >"$scratch/build.log" 2>&1; then
    tail -20 "$scratch/build.log"
    echo "not ok the Dockerfile builds"
    exit 1
fi
echo "ok the Dockerfile builds"

buildah inspect --type image gotoassist-grpc >"$scratch/image.json"
is() {
    [[ $(python3 - "$scratch/image.json" "$1" <<'END'
import json, sys
value = json.load(open(sys.argv[1]))["Docker"]["config"]
for key in sys.argv[2].split("/"):
    value = value[key]
print(json.dumps(value))
END
    ) == "$2" ]]
}
check "it runs as a user that Kubernetes can tell from root" is User '"65532:65532"'
check "it serves by itself" is Cmd '["serve"]'
check "it starts the binary without a shell" is Entrypoint '["/usr/local/bin/gotoassist-grpc"]'
check "its health is the binary's own" is Healthcheck/Test \
    '["CMD", "/usr/local/bin/gotoassist-grpc", "health"]'
check "it stops by SIGTERM" is StopSignal '"SIGTERM"'
check "it tells the revision" is Labels/org.opencontainers.image.revision '"abc123"'
version=$(sed -nE 's/^version = (".*")$/\1/p' "$root/Cargo.toml")
check "it tells the version" is Labels/org.opencontainers.image.version "$version"
check "and its licence" is Labels/org.opencontainers.image.licenses '"MIT OR Apache-2.0"'
check "it exposes both ports" is ExposedPorts '{"50051/tcp": {}, "9464/tcp": {}}'

container=$(buildah from --pull-never gotoassist-grpc)
folder=$(buildah mount "$container")
check "it holds no shell" test ! -e "$folder/bin/sh" -a ! -e "$folder/usr/bin/sh"
check "it holds no source" test ! -e "$folder/src"
size=$(du -sm --apparent-size "$folder" | cut -f1)
echo "    $size MB with the binary of this run"
if [[ $binary == */release/* ]]; then
    check "it is small" test "$size" -le 30
fi
run() {
    buildah run "$container" -- /usr/local/bin/gotoassist-grpc "$@"
}
demo() {
    run demo --once --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --simulator-listen 127.0.0.1:0 \
        >"$scratch/demo.log" 2>&1
}
check "the demo walks in it" demo
check "the demo saw a session to its end" grep -qi complete "$scratch/demo.log"

port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
run serve --listen "127.0.0.1:$port" --admin-listen 127.0.0.1:0 --drain-delay 100ms \
    >"$scratch/serve.log" 2>&1 &
serving=$!
healthy() {
    for _ in {1..50}; do
        if buildah run "$container" -- /usr/local/bin/gotoassist-grpc health \
            --server "http://127.0.0.1:$port" >/dev/null 2>&1; then
            return 0
        fi
        sleep 0.2
    done
    return 1
}
check "its health command finds it serving" healthy
process=$(pgrep -n -f "gotoassist-grpc serve --listen 127.0.0.1:$port" || true)
check "it is not root" test "$(stat -c %u "/proc/$process")" = 65532
ends() {
    kill -TERM "${process:-$serving}" && wait "$serving"
}
check "SIGTERM ends it, with 0" ends
exit "$failed"
