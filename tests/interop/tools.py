"""Finds the binary, and installs and runs the tools of other projects."""

import dataclasses
import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
# `run` sets both.
BINARY = pathlib.Path(os.environ.get("INTEROP_BINARY", ROOT / "target/debug/gotoassist-grpc"))
TOOLS = pathlib.Path(os.environ.get("INTEROP_TOOLS", ROOT / "target/interop"))
IS_RELEASE = BINARY.parent.name != "debug"

# The service and the clients do not get the settings of the person who runs the tests.
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("GOTOASSIST_")}

# The programs that CI has (see .ci/run). In CI, a test that needs one of them is never skipped.
IN_CI = {"go", "java", "mvn", "node", "npm"}


@dataclasses.dataclass
class Outcome:
    """The exit status and the output of a command."""

    status: int
    stdout: str
    stderr: str

    @property
    def output(self):
        return self.stdout + self.stderr

    def expect(self, status, *texts, without=()):
        """Asserts the exit status, texts that the output contains, and texts that it does not."""
        __tracebackhide__ = True
        problems = [] if self.status == status else [f"exit status {self.status}, not {status}"]
        problems += [f"it does not contain: {text}" for text in texts if text not in self.output]
        problems += [f"it contains: {text}" for text in without if text in self.output]
        if problems:
            pytest.fail("\n".join([*problems, "the output:", self.output]))
        return self


def run(*command, environment=None, cwd=ROOT, timeout=100, stdin=""):
    """Runs a command to its end."""
    done = subprocess.run(
        list(map(str, command)),
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        cwd=cwd,
        env=ENVIRONMENT | (environment or {}),
        timeout=timeout,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def binary(*arguments, **options):
    """Runs the service's own binary."""
    return run(BINARY, *arguments, **options)


def install(*command, **options):
    """Runs a command that must succeed. It may compile for some minutes."""
    return run(*command, timeout=800, **options).expect(0)


def once(stamp, content, *commands):
    """Runs commands, unless they have already run for the same content."""
    if not stamp.exists() or stamp.read_text() != content:
        for command in commands:
            install(*command)
        stamp.write_text(content)


def needs(*programs, package=None):
    """Skips the test if a program is not on this machine; in CI some have to be."""
    for program in programs:
        if shutil.which(program) is None:
            reason = f"{program} is not installed"
            if package:
                reason += f" (Debian: {package})"
            if os.environ.get("CI") == "true" and program in IN_CI:
                pytest.fail(reason)
            pytest.skip(reason)


def go_program(module, version):
    """The path of a program written in Go, which is built on first use."""
    name = module.rsplit("/", 1)[1]
    folder = TOOLS / f"{name}-{version}"
    if not (folder / name).exists():
        needs("go")
        flags = {"GOBIN": str(folder), "GOFLAGS": "-mod=mod"}
        install("go", "install", f"{module}@{version}", environment=flags)
    return folder / name
