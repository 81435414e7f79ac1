"""Reads reports of h2spec on the service, each with one on bare hyper beside it, in FILE.bare. Fails
if a case failed in all that never failed at bare hyper, if one in known.txt never did, or if hardly
any ran. What fails at both and is not in known.txt is a race, which load decides."""

import pathlib
import sys
import xml.etree.ElementTree as ElementTree

known = {
    tuple(line.split("\t"))
    for line in (pathlib.Path(__file__).parent / "known.txt").read_text().splitlines()
    if line and not line.startswith("#")
}
read = lambda path: list(ElementTree.parse(path).getroot().iter("testcase"))
reports = [read(path) for path in sys.argv[1:]]
cases = reports[-1]
name = lambda case: (case.get("package"), case.get("classname"))
is_failed = lambda case: case.find("failure") is not None or case.find("error") is not None
failed = set.intersection(*({name(c) for c in report if is_failed(c)} for report in reports))
bare = {name(c) for path in sys.argv[1:] for c in read(f"{path}.bare") if is_failed(c)}
skipped = {name(c) for c in cases if c.find("skipped") is not None}
passed = len({name(c) for c in cases}) - len(failed) - len(skipped)
print(f"    {passed} of {len(cases)} passed, {len(skipped)} skipped, {len(failed)} failed")
for section, case in sorted(failed - bare):
    print(f"    FAILED {section}: {case}")
for section, case in sorted(failed & bare - known):
    print(f"    raced, at bare hyper too {section}: {case}")
for section, case in sorted(failed & known):
    print(f"    known {section}: {case}")
for section, case in sorted(known - failed):
    print(f"    no longer fails {section}: {case}")
for section, case in sorted(known - bare):
    print(f"    FAILED, and not hyper's: {section}: {case}")
for section, case in sorted(bare - failed):
    print(f"    at bare hyper only {section}: {case}")
assert passed > 120, "h2spec did not run as it should"
sys.exit(bool(failed - bare or known - bare))
