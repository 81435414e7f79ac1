"""Controls a headless Chromium through its debugging pipe."""

import json
import os
import subprocess

from processes import until


class Chromium:
    """A browser with one page."""

    def __init__(self, browser, folder):
        self.command = [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *("--remote-debugging-pipe", f"--user-data-dir={folder}", "about:blank"),
        ]
        self.number, self.unread, self.session = 0, b"", None

    def __enter__(self):
        to_child, self.write = os.pipe()
        self.read, from_child = os.pipe()

        def as_three_and_four():
            # Copy first, because the pipes may already be 3 and 4.
            ends = os.dup(to_child), os.dup(from_child)
            os.dup2(ends[0], 3)
            os.dup2(ends[1], 4)

        self.process = subprocess.Popen(
            self.command,
            preexec_fn=as_three_and_four,
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_child)
        os.close(from_child)
        try:
            target = self.ask("Target.createTarget", url="about:blank")["targetId"]
            attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        except BaseException:
            self.__exit__()
            raise
        self.session = attached["sessionId"]
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.read)
        os.close(self.write)

    def ask(self, method, **parameters):
        """Sends a command of the DevTools protocol and returns its result."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.write, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self.unread:
                received = os.read(self.read, 1 << 20)
                assert received, "Chromium has ended"
                self.unread += received
            line, self.unread = self.unread.split(b"\0", 1)
            answer = json.loads(line)
            if answer.get("id") == self.number:
                assert "error" not in answer, answer["error"]
                return answer["result"]

    def value(self, expression):
        """The value of an expression of JavaScript."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        return answer["result"].get("value")

    def until(self, expression):
        """Waits for an expression to be true."""
        try:
            until(expression, lambda: self.value(expression), 20)
        except TimeoutError as error:
            text = self.value("document.body?.innerText")
            raise AssertionError(f"{error}; the page says: {text}") from None
