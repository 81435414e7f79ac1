"""Checks that the service conforms to HTTP/2, with h2spec's sections `generic` and `http2`.

h2spec does not know gRPC, so a gRPC server cannot meet some of its expectations. KNOWN lists these
cases with the reasons. They must also fail with hyper's own server, without any of our code
(examples/bare_hyper.rs). A case that fails only with the service is a bug of the service. Some
cases that KNOWN does not list depend on timing, and may fail with both servers."""

import re
from xml.etree import ElementTree

import pytest

from processes import Program, Service
from tools import TOOLS, binary, go_program, install, run

KNOWN = {
    # h2spec sends a GET request and wants a DATA frame. A gRPC server answers a request that is no
    # gRPC call with headers that end the stream (Trailers-Only). The frame in question was
    # accepted: there was a response.
    ("generic/2", "Sends a WINDOW_UPDATE frame on half-closed (remote) stream"),
    ("generic/2", "Sends a PRIORITY frame on half-closed (remote) stream"),
    # The connection is closed at once, as it must be. Bytes of the client that were not read turn
    # the close into a reset, which h2spec does not count as closed.
    ("http2/3.5", "Sends invalid connection preface"),
}


class BareHyper(Program):
    """hyper's HTTP/2 server without any of our code."""

    def __init__(self):
        install("cargo", "build", "--quiet", "--locked", "--example", "bare_hyper")
        super().__init__("bare-hyper", TOOLS.parent / "debug/examples/bare_hyper")

    def is_ready(self):
        if found := re.match(r"([\d.]+:\d+)\n", self.output()):
            self.address = found[1]
        return found


class Report:
    """The cases of one run of h2spec at an address: all, and those that failed or were skipped."""

    def __init__(self, h2spec, address, path):
        host, port = address.split(":")
        # The exit status does not matter: some cases are expected to fail.
        run(
            *(h2spec, "generic", "http2", "--host", host, "--port", port),
            *("--timeout", "2", "--junit-report", path),
            timeout=600,
        )
        assert path.stat().st_size, "h2spec wrote no report"
        self.all, self.failed, self.skipped = set(), set(), set()
        for case in ElementTree.parse(path).getroot().iter("testcase"):
            name = case.get("package"), case.get("classname")
            self.all.add(name)
            if case.find("failure") is not None or case.find("error") is not None:
                self.failed.add(name)
            if case.find("skipped") is not None:
                self.skipped.add(name)


@pytest.fixture(scope="module")
def service(simulator):
    # The service allows one call at a time. h2spec must send more calls than allowed before the
    # first is answered, and it is too slow for a limit of a thousand.
    with Service(simulator, "--max-streams", "1") as service:
        yield service


def test_only_cases_fail_that_also_fail_with_bare_hyper(service, scratch, note):
    h2spec = go_program("github.com/summerwind/h2spec/cmd/h2spec", "v2.2.1+incompatible")
    failed, bare_failed = None, set()
    with BareHyper() as bare:
        # Some cases are races: the answer may be sent before the invalid frame is read. So a case
        # counts as failed only if it fails three times.
        for number in range(3):
            report = Report(h2spec, service.address, scratch / f"report-{number}.xml")
            bare_report = Report(h2spec, bare.address, scratch / f"bare-{number}.xml")
            failed = report.failed if failed is None else failed & report.failed
            bare_failed |= bare_report.failed
            passed = len(report.all) - len(failed) - len(report.skipped)
            if passed > 120 and failed <= bare_failed and bare_failed >= KNOWN:
                break
    note(f"{passed} of {len(report.all)} passed, {len(report.skipped)} skipped")
    note(f"failed at bare hyper too, known: {sorted(failed & KNOWN)}")
    note(f"failed at bare hyper too, a race: {sorted(failed & bare_failed - KNOWN)}")
    note(f"failed at bare hyper only: {sorted(bare_failed - failed)}")
    note(f"known, and does not fail any more: {sorted(KNOWN - failed)}")
    assert passed > 120, "h2spec did not run as it should"
    assert not failed - bare_failed, "it fails here and not at bare hyper"
    assert not KNOWN - bare_failed, "it is known, and does not fail at bare hyper"


def test_service_is_well_afterwards(service):
    server = f"http://{service.address}"
    binary("get", "250040353", "--server", server, "--token", "interop").expect(0)
