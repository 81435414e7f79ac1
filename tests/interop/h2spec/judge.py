"""Reads h2spec's report: fails if a case failed that is not in known.txt, or if hardly any ran."""

import pathlib
import sys
import xml.etree.ElementTree as ElementTree

known = {
    tuple(line.split("\t"))
    for line in (pathlib.Path(__file__).parent / "known.txt").read_text().splitlines()
    if line and not line.startswith("#")
}
cases = list(ElementTree.parse(sys.argv[1]).getroot().iter("testcase"))
name = lambda case: (case.get("package"), case.get("classname"))
failed = {name(c) for c in cases if c.find("failure") is not None or c.find("error") is not None}
skipped = {name(c) for c in cases if c.find("skipped") is not None}
passed = len(cases) - len(failed) - len(skipped)
print(f"    {passed} of {len(cases)} passed, {len(skipped)} skipped, {len(failed)} failed")
for section, case in sorted(failed - known):
    print(f"    FAILED {section}: {case}")
for section, case in sorted(failed & known):
    print(f"    known {section}: {case}")
for section, case in sorted(known - failed):
    print(f"    no longer fails {section}: {case}")
assert passed > 120, "h2spec did not run as it should"
sys.exit(bool(failed - known))
