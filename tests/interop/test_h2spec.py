"""HTTP/2 to the letter: h2spec's sections `generic` and `http2`.

h2spec knows no gRPC, so some of what it expects cannot be. Those cases are listed in KNOWN with the
reason, and must fail at hyper's own server too, with none of our code around it
(examples/bare_hyper.rs). What fails here and not there is a fault. What fails at both and is not
known is a race, which load decides."""

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
        # Its exit status only says that something failed, which is expected.
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
    # One call at a time: h2spec sends one more than the service allows, all of which it has to send
    # before the first is answered. Of a thousand it would not manage.
    with Service(simulator, "--max-streams", "1") as service:
        yield service


def test_nothing_fails_that_does_not_at_bare_hyper(service, scratch, note):
    h2spec = go_program("github.com/summerwind/h2spec/cmd/h2spec", "v2.2.1+incompatible")
    failed, bare_failed = None, set()
    with BareHyper() as bare:
        # Some cases race: the answer may be there before the offence is read. So a case has failed
        # only if it fails three times.
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
