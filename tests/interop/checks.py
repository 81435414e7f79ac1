"""What the suites in Python share, as checks.bash is for those in bash: a line for each check."""

import sys

_failed = False


def check(what, good, why=""):
    global _failed
    print(f"ok {what}" if good else f"not ok {what}\n    {why}", flush=True)
    _failed |= not good


def finish():
    """Ends the program, with 1 if a check has failed."""
    sys.exit(_failed)
