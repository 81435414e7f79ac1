"""Runs the scenes that are named, or all: sharing, restarts, identity, partition."""

import asyncio
import sys
import time

from mesh import identity, partition, restarts, sharing
from mesh.report import Report

SCENES = {"sharing": sharing, "restarts": restarts, "identity": identity, "partition": partition}


def main():
    report = Report()
    for name in sys.argv[1:] or SCENES:
        begin = time.monotonic()
        try:
            asyncio.run(SCENES[name].run(report))
        except Exception as error:
            report.check(f"{name} ran to its end", False, f"{type(error).__name__}: {error}")
        report.note(f"{name} took {time.monotonic() - begin:.0f} s")
    return 1 if report.failures else 0


sys.exit(main())
