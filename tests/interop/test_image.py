"""Builds the container image from the Dockerfile with buildah, inspects it, and runs it.

No image registry is needed. Two images made here have the names of the base images. One has the C
library and the CA certificates of this Debian, like distroless. The other has a few tools, and a
`cargo` that copies the binary which is already built. So the tests show what the image contains and
how it runs. They do not show that cargo builds in it, which is the first step of CI."""

import json
import os
import pathlib
import re
import shutil
import signal

import pytest

from processes import Program, free_port
from tools import BINARY, ENVIRONMENT, IS_RELEASE, ROOT, needs, run

DOCKERFILE = (ROOT / "Dockerfile").read_text()
ISOLATION = {"BUILDAH_ISOLATION": "chroot"}
INSIDE = "/usr/local/bin/gotoassist-grpc"
CARGO = """\
#!/bin/sh
for needed in Cargo.toml Cargo.lock build.rs proto/gotoassist third_party/google \\
    benches/steps/main.rs src/lib.rs src/main.rs; do
    [ -e "$needed" ] || { echo "not in the build context: $needed"; exit 1; }
done
mkdir -p target/dist && cp /prebuilt target/dist/gotoassist-grpc
"""


class Buildah:
    """buildah with its own storage."""

    def __init__(self, folder):
        self.storage = folder / "storage"
        stores = ["--root", self.storage, "--runroot", folder / "runroot"]
        self.command = ["buildah", *stores, "--storage-driver", "vfs"]

    def __call__(self, *arguments):
        """Runs buildah and returns what it prints."""
        outcome = run(*self.command, *arguments, environment=ISOLATION, timeout=600)
        return outcome.expect(0).stdout.strip()

    def import_folder(self, name, folder, user):
        """Makes an image of a root file system."""
        container = self("from", "scratch")
        self("add", "--quiet", container, folder, "/")
        path = "PATH=/usr/local/bin:/usr/bin:/bin"
        self("config", "--user", user, "--env", path, container)
        self("commit", "--quiet", "--rm", container, name)

    def clean_up(self):
        """Removes the containers and unmounts the storage, so that its folder can be removed."""
        run(*self.command, "rm", "--all", environment=ISOLATION)
        run("umount", self.storage / "vfs")


def copy_to(target, *files):
    """Copies files to a root file system, with the libraries that they need."""
    for file in files:
        libraries = re.findall(r"/[^ ]+", run("ldd", file).stdout.replace("\n", " "))
        for path in (file, *libraries):
            place = target / path.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)


def build_root(folder):
    """The root file system of the image that replaces Rust's image."""
    copy_to(folder, "/bin/sh", "/bin/mkdir", "/bin/rm", "/bin/cp", "/usr/bin/touch")
    shutil.copy(BINARY, folder / "prebuilt")
    if shutil.which("strip"):
        run("strip", folder / "prebuilt")
    for name in ("usr/local/bin", "tmp", "etc"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "usr/local/bin/cargo").write_text(CARGO)
    (folder / "usr/local/bin/cargo").chmod(0o755)
    (folder / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")


def base_root(folder):
    """The root file system of the image that replaces distroless."""
    copy_to(folder, "/etc/ssl/certs/ca-certificates.crt", str(BINARY))
    # Keep only the libraries of the binary.
    (folder / str(BINARY).lstrip("/")).unlink()
    run("find", folder, "-type", "d", "-empty", "-delete").expect(0)
    for name in ("etc", "tmp", "home/nonroot"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "tmp").chmod(0o1777)
    user = "nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n"
    (folder / "etc/passwd").write_text(user)
    (folder / "etc/group").write_text("nonroot:x:65532:\n")


@pytest.fixture(scope="module")
def buildah(scratch):
    """A buildah that has built the image from the Dockerfile."""
    needs("buildah", "dpkg", package="buildah")
    if os.getuid() != 0:
        pytest.skip("only root can build in a chroot")
    buildah = Buildah(scratch)
    try:
        for argument, make, user in [
            ("RUST_IMAGE", build_root, "root"),
            ("BASE_IMAGE", base_root, "nonroot"),
        ]:
            folder = scratch / argument
            make(folder)
            [name] = re.findall(rf"^ARG {argument}=(\S+)", DOCKERFILE, re.MULTILINE)
            buildah.import_folder(name, folder, user)
        buildah(
            *("build", "--quiet", "--pull-never", "--format", "docker"),
            *("--build-arg", "REVISION=abc123", "--ignorefile", ROOT / ".dockerignore"),
            *("--tag", "gotoassist-grpc", "--file", ROOT / "Dockerfile", ROOT),
        )
        yield buildah
    finally:
        buildah.clean_up()


@pytest.fixture(scope="module")
def config(buildah):
    text = buildah("inspect", "--type", "image", "gotoassist-grpc")
    return json.loads(text)["Docker"]["config"]


@pytest.fixture(scope="module")
def container(buildah):
    return buildah("from", "--pull-never", "gotoassist-grpc")


@pytest.fixture(scope="module")
def folder(buildah, container):
    return pathlib.Path(buildah("mount", container))


def test_user_is_one_that_kubernetes_can_tell_from_root(config):
    assert config["User"] == "65532:65532"


def test_image_serves_by_itself(config):
    assert config["Cmd"] == ["serve"]


def test_image_starts_the_binary_without_a_shell(config):
    assert config["Entrypoint"] == [INSIDE]


def test_health_check_is_the_binarys_own(config):
    assert config["Healthcheck"]["Test"] == ["CMD", INSIDE, "health"]


def test_image_stops_by_sigterm(config):
    assert config["StopSignal"] == "SIGTERM"


def test_label_tells_the_revision(config):
    assert config["Labels"]["org.opencontainers.image.revision"] == "abc123"


def test_label_tells_the_version(config):
    manifest = (ROOT / "Cargo.toml").read_text()
    version = re.search(r'^version = "(.*)"$', manifest, re.MULTILINE)[1]
    assert config["Labels"]["org.opencontainers.image.version"] == version


def test_label_tells_the_licence(config):
    assert config["Labels"]["org.opencontainers.image.licenses"] == "MIT OR Apache-2.0"


def test_ports_of_serve_and_simulate_are_exposed(config):
    assert config["ExposedPorts"] == {"50051/tcp": {}, "9464/tcp": {}, "8089/tcp": {}}


def test_image_contains_no_shell(folder):
    assert not (folder / "bin/sh").exists()
    assert not (folder / "usr/bin/sh").exists()


def test_image_contains_no_source(folder):
    assert not (folder / "src").exists()


def test_image_is_small(folder, note):
    size = int(run("du", "-sm", "--apparent-size", folder).expect(0).stdout.split()[0])
    note(f"{size} MB")
    if IS_RELEASE:
        assert size <= 30


def inside(buildah, container, *arguments):
    """The command line that runs the binary in the container."""
    return [*buildah.command, "run", container, "--", INSIDE, *arguments]


def test_demo_sees_a_session_to_its_end_in_it(buildah, container):
    flags = ["--listen", "--admin-listen", "--simulator-listen"]
    addresses = [word for flag in flags for word in (flag, "127.0.0.1:0")]
    command = inside(buildah, container, "demo", "--once", *addresses)
    outcome = run(*command, environment=ISOLATION).expect(0)
    assert "complete" in outcome.output.lower()


class Serving(Program):
    """`serve` in the container. Its process is a child of buildah's."""

    def __init__(self, buildah, container):
        address = f"127.0.0.1:{free_port()}"
        self.words = ["serve", "--listen", address]
        options = ["--admin-listen", "127.0.0.1:0", "--drain-delay", "100ms"]
        command = inside(buildah, container, *self.words, *options)
        super().__init__("image", *command, environment=ENVIRONMENT | ISOLATION)
        self.health = inside(buildah, container, "health", "--server", f"http://{address}")

    def is_ready(self):
        return run(*self.health, environment=ISOLATION).status == 0

    def pid(self):
        """The process of the binary: the newest process with its command line."""
        pattern = " ".join(["gotoassist-grpc", *self.words])
        return int(run("pgrep", "-n", "-f", pattern).expect(0).stdout)


def test_serving_image_is_healthy_and_not_root_and_ends_by_sigterm(buildah, container):
    with Serving(buildah, container) as serving:
        process = serving.pid()
        assert pathlib.Path(f"/proc/{process}").stat().st_uid == 65532
        os.kill(process, signal.SIGTERM)
        assert serving.process.wait(30) == 0
