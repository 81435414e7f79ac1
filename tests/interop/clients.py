"""Builds and runs the client examples in `clients`. They are built in a copy of the tree. Their
stubs are generated there, and installed packages stay there for the next run."""

import functools
import os
import shutil
import sys

from tools import ENVIRONMENT, ROOT, TOOLS, go_program, install, needs, once, run

LANGUAGES = ("go", "java", "python", "typescript")
TOKEN = "interop"
TREE = TOOLS / "clients-tree"
CLIENTS = TREE / "clients"
PYTHON = TOOLS / "python-client/bin/python"
PROTOC_GEN_GO = "google.golang.org/protobuf/cmd/protoc-gen-go", "v1.36.12"
PROTOC_GEN_GO_GRPC = "google.golang.org/grpc/cmd/protoc-gen-go-grpc", "v1.6.2"


@functools.cache
def build(language):
    """Generates stubs from the current .proto files, and builds a client with them."""
    copy_tree()
    {
        "go": build_go,
        "java": build_java,
        "python": build_python,
        "typescript": build_typescript,
    }[language]()


@functools.cache
def copy_tree():
    generated = shutil.ignore_patterns("node_modules", "gen", "dist", "target")
    for folder in ("clients/go", "clients/python", "clients/java/src", "clients/typescript/src"):
        shutil.rmtree(TREE / folder, ignore_errors=True)
    for folder in ("proto", "third_party"):
        shutil.rmtree(TREE / folder, ignore_errors=True)
        shutil.copytree(ROOT / folder, TREE / folder)
    shutil.copytree(ROOT / "clients", CLIENTS, ignore=generated, dirs_exist_ok=True)
    for file in ("buf.yaml", "buf.gen.yaml"):
        shutil.copy(ROOT / file, TREE / file)


@functools.cache
def install_node_modules():
    """The packages of the TypeScript client, and buf."""
    needs("node", "npm")
    folder = CLIENTS / "typescript"
    once(
        TREE / "npm.txt",
        (folder / "package-lock.json").read_text(),
        ["npm", "ci", "--silent", "--no-audit", "--no-fund", "--prefix", folder],
    )
    return folder


def build_go():
    needs("go")
    buf = install_node_modules() / "node_modules/.bin/buf"
    plugins = [go_program(*PROTOC_GEN_GO).parent, go_program(*PROTOC_GEN_GO_GRPC).parent]
    path = os.pathsep.join([*map(str, plugins), os.environ["PATH"]])
    install(buf, "generate", cwd=TREE, environment={"PATH": path})
    install("go", "build", "-o", TREE / "go-client", ".", cwd=CLIENTS / "go")


def build_typescript():
    folder = install_node_modules()
    # Without the tools of Go.
    directories = os.environ["PATH"].split(os.pathsep)
    path = os.pathsep.join(each for each in directories if "go" not in each.split(os.sep))
    for script in ("generate", "build"):
        install("npm", "run", script, cwd=folder, environment={"PATH": path})


def build_python():
    requirements = CLIENTS / "python/requirements.txt"
    once(
        TREE / "pip.txt",
        requirements.read_text(),
        [sys.executable, "-m", "venv", "--clear", PYTHON.parents[1]],
        [PYTHON, "-m", "pip", "install", "--quiet", "--requirement", requirements],
    )
    gen = CLIENTS / "python/gen"
    gen.mkdir(exist_ok=True)
    install(
        *(PYTHON, "-m", "grpc_tools.protoc", "-I", TREE / "proto", "-I", TREE / "third_party"),
        *(f"--python_out={gen}", f"--grpc_python_out={gen}"),
        *(TREE / "proto/gotoassist/remotesupport/v1").glob("*.proto"),
    )


def build_java():
    needs("java", "mvn")
    install(
        *("mvn", "--quiet", "--batch-mode", f"-Dmaven.repo.local={TOOLS / 'm2'}"),
        *("-f", CLIENTS / "java/pom.xml", "compile"),
    )


def command(language, *arguments):
    """The command line of a client: `get SESSION…`, `sessions STATUS…`,
    `links DOMAIN…` or `watch SESSION`."""
    java = CLIENTS / "java/target"
    return [
        *{
            "go": [TREE / "go-client"],
            "java": [
                *("java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"),
                *("-cp", f"{java}/classes:{java}/lib/*", "com.example.Client"),
            ],
            "python": [PYTHON, CLIENTS / "python/client.py"],
            "typescript": ["node", CLIENTS / "typescript/dist/src/client.js"],
        }[language],
        *arguments,
    ]


def environment(language, address, token=TOKEN, service_config=None):
    """The environment of a client, without the variables of the test run."""
    server = f"http://{address}" if language == "typescript" else address
    settings = {"GOTOASSIST_SERVER": server, "GOTOASSIST_TOKEN": token}
    if service_config:
        settings["GOTOASSIST_SERVICE_CONFIG"] = str(service_config)
    if language == "python":
        settings["PYTHONPATH"] = str(CLIENTS / "python/gen")
    return ENVIRONMENT | settings


def call(language, address, *arguments, **settings):
    """Runs a client to its end."""
    return run(
        *command(language, *arguments), environment=environment(language, address, **settings)
    )
