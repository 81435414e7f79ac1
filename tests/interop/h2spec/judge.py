"""Reads reports of h2spec: fails if a case failed in all that is not in known.txt, or if hardly any
ran."""

import pathlib
import sys
import xml.etree.ElementTree as ElementTree

known = {
    tuple(line.split("\t"))
    for line in (pathlib.Path(__file__).parent / "known.txt").read_text().splitlines()
    if line and not line.startswith("#")
}
reports = [list(ElementTree.parse(path).getroot().iter("testcase")) for path in sys.argv[1:]]
cases = reports[-1]
name = lambda case: (case.get("package"), case.get("classname"))
is_failed = lambda case: case.find("failure") is not None or case.find("error") is not None
failed = set.intersection(*({name(c) for c in report if is_failed(c)} for report in reports))
skipped = {name(c) for c in cases if c.find("skipped") is not None}
passed = len({name(c) for c in cases}) - len(failed) - len(skipped)
print(f"    {passed} of {len(cases)} passed, {len(skipped)} skipped, {len(failed)} failed")
for section, case in sorted(failed - known):
    print(f"    FAILED {section}: {case}")
for section, case in sorted(failed & known):
    print(f"    known {section}: {case}")
for section, case in sorted(known - failed):
    print(f"    no longer fails {section}: {case}")
assert passed > 120, "h2spec did not run as it should"
sys.exit(bool(failed - known))
