"""A headless Chromium that a test talks to over its DevTools protocol."""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome")
# Nothing of it may look for the internet, nor for a screen.
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
    "--remote-debugging-port=0", "--window-size=1300,1500",
)  # fmt: skip
TIMEOUT_S = 90.0
# Resolves when the expression is true: at once, or after some change of the page.
UNTIL = """new Promise((done) => {
  const met = () => { const value = (%s); if (value) { watch.disconnect(); done(value instanceof Node || value); } };
  const watch = new MutationObserver(met);
  watch.observe(document, {subtree: true, childList: true, attributes: true, characterData: true});
  met();
})"""


def installed() -> str | None:
    """Path of a Chromium, where there is one."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@dataclass
class Page:
    """An open page."""

    connection: ClientConnection
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def open(self, url: str) -> None:
        """Loads an address, and returns when it is loaded."""
        self._ask("Page.enable")
        self._ask("Page.navigate", url=url)
        while json.loads(self.connection.recv(TIMEOUT_S)).get("method") != "Page.loadEventFired":
            pass

    def value(self, expression: str) -> Any:  # Any: what JavaScript makes of it
        """The value of an expression, awaited where it is a promise."""
        answer = self._ask("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, expression: str) -> Any:  # Any: see above
        """The value of the expression as soon as it is true."""
        return self.value(UNTIL % expression)

    def screenshot(self, path: Path) -> None:
        """What is seen, as a PNG file."""
        path.write_bytes(base64.b64decode(self._ask("Page.captureScreenshot")["data"]))

    def _ask(self, method: str, **params: object) -> dict[str, Any]:
        number = next(self._numbers)
        self.connection.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            answer = json.loads(self.connection.recv(TIMEOUT_S))
            if answer.get("id") == number:
                assert "error" not in answer, answer
                found: dict[str, Any] = answer["result"]
                return found


@contextmanager
def page(program: str, profile: Path) -> Iterator[Page]:
    """A page of a browser with an empty profile, until the block ends."""
    words = [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stderr is not None
            lines = (line.partition("DevTools listening on ")[2].strip() for line in process.stderr)
            browser = next(filter(None, lines))
            with connect(browser, max_size=None) as control:
                found = Page(control)._ask("Target.getTargets")["targetInfos"]
            (target,) = (each["targetId"] for each in found if each["type"] == "page")
            address = browser.partition("/devtools/")[0] + f"/devtools/page/{target}"
            with connect(address, max_size=None) as connection:
                yield Page(connection)
        finally:
            process.kill()
