"""Fixtures that all tests share, and additions to pytest's output."""

import functools
import pathlib
import tempfile

import pytest

import clients
from processes import STARTED, Demo, Simulator

NOTES = pytest.StashKey[list[str]]()


@pytest.fixture(scope="module")
def demo():
    """A fresh `demo`: a service and its simulated vendor, for one test file."""
    with Demo() as demo:
        yield demo


@pytest.fixture(scope="module")
def simulator():
    """A fresh simulated vendor, for one test file."""
    with Simulator() as simulator:
        yield simulator


@pytest.fixture(scope="class")
def client(request, demo):
    """Runs the client example in the language of a test class, against the demo."""
    clients.build(request.cls.language)
    return functools.partial(clients.call, request.cls.language, demo.address)


@pytest.fixture(scope="module")
def scratch():
    """A folder that is removed after one test file. pytest keeps its own, and images are large."""
    with tempfile.TemporaryDirectory(prefix="interop-", ignore_cleanup_errors=True) as folder:
        yield pathlib.Path(folder)


@pytest.fixture
def note(request):
    """Prints a line at the end of the run, such as a figure that was measured."""
    notes = request.config.stash.setdefault(NOTES, [])
    return lambda text: notes.append(f"{request.node.name}: {text}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Adds to a failed test the log of each process that ran during it."""
    report = yield
    if report.failed:
        for program in STARTED:
            report.sections.append((f"log of {program.name}", program.tail()))
    if report.when == "teardown":
        STARTED[:] = [program for program in STARTED if program.is_running()]
    return report


def pytest_terminal_summary(terminalreporter, config):
    if notes := config.stash.get(NOTES, []):
        terminalreporter.section("notes")
        for note in notes:
            terminalreporter.write_line(note)
