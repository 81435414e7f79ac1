"""What was found, line by line."""


class Report:
    """Prints each check as it is made, and remembers what failed."""

    def __init__(self):
        self.failures = []

    def check(self, name, is_good, detail=""):
        print(f"{'ok' if is_good else 'not ok'} {name}" + (f": {detail}" if detail else ""))
        if not is_good:
            self.failures.append(name)

    def skip(self, name, reason):
        """What cannot be checked on this machine."""
        print(f"skipped {name}: {reason}")

    def note(self, text):
        print(f"    {text}")

    def histories(self, name, watchers):
        """No watcher may have anything to complain about."""
        problems = watchers.problems()
        ends = ", ".join(f"{count} {code}" for code, count in sorted(watchers.ends.items()))
        self.check(name, not problems, f"streams ended: {ends}")
        for problem in problems[:10]:
            self.note(problem)
