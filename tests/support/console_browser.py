"""A real Chromium for tests of the console, started once, and driven from Python.

page = browser.open(proxy.url, scheme="dark", width=390)
page.login(KEY)
page.goto("/console/keys")
assert page.text("h1") == "Keys"
page.click("form button", leaves=True)     # and wait for the page that follows
page.check_accessibility()                 # axe finds nothing
page.screenshot("keys")                    # if CONSOLE_PICTURES names a directory for it
"""

import json
import os
import re
import select
from pathlib import Path
from typing import Any, Self

from tests.support import browser

SCRIPT = Path(__file__).with_name("console_browser.mjs")
ANSWER_WITHIN_S = 60
#: Messages of the browser itself about an answer that the test asked for.
EXPECTED = re.compile(r"Failed to load resource: the server responded with a status of 4\d\d")


class Browser:
    """A running Chromium: a context manager."""

    def __init__(self) -> None:
        pictures = os.environ.get("CONSOLE_PICTURES")
        self._pictures = Path(pictures) if pictures else None
        if self._pictures is not None:
            self._pictures.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        browser.install()
        axe = browser.HOME / "node_modules" / "axe-core" / "axe.min.js"
        self._process = browser.start(SCRIPT, str(axe))
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        try:
            self._process.wait(60)
        finally:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()

    def ask(self, command: str, **given: Any) -> Any:
        """Send a command, and return its value; an error of the browser fails the test."""
        self._process.stdin.write(json.dumps({"command": command, **given}) + "\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], ANSWER_WITHIN_S)
        assert ready, f"no answer of the browser to {command} {given}"
        answer = json.loads(self._process.stdout.readline())
        assert "error" not in answer, f"{command} {given}: {answer['error']}"
        return answer["value"]

    def open(
        self, url: str, *, scheme: str = "light", width: int = 1280, height: int = 800
    ) -> "BrowserPage":
        """Open a page with cookies and storage of its own; ``url`` is the proxy's."""
        number = self.ask("open", scheme=scheme, width=width, height=height)
        return BrowserPage(self, number, url, self._pictures)


class BrowserPage:
    """A page of a browser: a context manager, or close it yourself."""

    def __init__(self, browser: Browser, number: int, url: str, pictures: Path | None) -> None:
        self._browser, self._number, self.url = browser, number, url
        self._pictures = pictures

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ask("close")

    def _ask(self, command: str, **given: Any) -> Any:
        return self._browser.ask(command, page=self._number, **given)

    def goto(self, path: str) -> int:
        """Load a path of the proxy; return the status."""
        return self._ask("goto", url=self.url + path)

    def login(self, key: str) -> None:
        """Log in by the form; the key must be good. Another session ends before."""
        self.goto("/console/login")
        if not self.has("#key"):
            self.click(".who form button", leaves=True)
        self.type("#key", key)
        self.click("main button", leaves=True)
        assert not self.has("#key"), self.text("main")

    def click(self, selector: str, *, leaves: bool = False) -> int | None:
        """Click; ``leaves``: wait for the page that follows, and return its status."""
        return self._ask("click", selector=selector, leaves=leaves)

    def type(self, selector: str, text: str) -> None:
        """Replace the text of a field."""
        self._ask("type", selector=selector, text=text)

    def press(self, key: str, *, leaves: bool = False) -> None:
        """Press a key, such as "Tab"; ``leaves``: wait for the page that follows."""
        self._ask("press", key=key, leaves=leaves)

    def upload(self, selector: str, path: Path) -> None:
        """Choose a file."""
        self._ask("upload", selector=selector, path=str(path))

    def evaluate(self, code: str) -> Any:
        """Return the value of an expression of JavaScript."""
        return self._ask("evaluate", code=code)

    def wait(self, code: str) -> None:
        """Wait until an expression of JavaScript is true."""
        self._ask("wait", code=code)

    def text(self, selector: str) -> str:
        """Return the visible text of the first element."""
        return self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText")

    def texts(self, selector: str) -> list[str]:
        """Return the visible text of every element."""
        every = f"[...document.querySelectorAll({json.dumps(selector)})]"
        return self.evaluate(f"{every}.map((e) => e.innerText)")

    def has(self, selector: str) -> bool:
        """Return whether there is such an element."""
        return self.evaluate(f"document.querySelector({json.dumps(selector)}) !== null")

    def path(self) -> str:
        """Return the path of the page, with its query."""
        return self.evaluate("location.pathname + location.search")

    def cookies(self) -> list[dict[str, Any]]:
        """Return the cookies of the page, those that scripts cannot read, too."""
        return self._ask("cookies")

    def screenshot(self, name: str, *, whole: bool = True) -> None:
        """Keep a picture of the page, if a directory is set: it takes a large part of a second."""
        if self._pictures is not None:
            self._ask("screenshot", path=str(self._pictures / f"{name}.png"), whole=whole)

    def check_accessibility(self) -> None:
        """Check that axe finds nothing, and that nothing is wider than the window."""
        assert self._ask("axe") == []
        assert self.evaluate("document.documentElement.scrollWidth <= innerWidth"), "too wide"

    def check_quiet(self) -> None:
        """Check that the page loaded nothing of other hosts, and the browser logged no error."""
        seen = self._ask("seen")
        assert [u for u in seen["requests"] if not u.startswith((self.url, "data:"))] == []
        assert [c for c in seen["complaints"] if not EXPECTED.search(c)] == []
