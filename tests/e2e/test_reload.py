"""SIGHUP applies new settings without losing a request; wrong settings are never used."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from tests.e2e.usage_load import Load
from tests.support.server import Proxy, eventually
from tests.support.settings import KEY, KEYS, model, provider, settings_file
from tests.support.upstream import Upstream

WRONG = "\nMODELS['embed']['deployments'][0]['provider'] = 'opnai'\n"


class Reloaded(Proxy):
    """A proxy whose settings file a test rewrites."""

    def __init__(self, directory: Path, upstream: Upstream, **options) -> None:
        keys = {"tests": KEYS["tests"]}
        self.file = settings_file(directory, {"p": provider(upstream)}, {"embed": model("p")}, keys)
        self.good = self.file.read_text()
        super().__init__(directory, self.file, **options)

    def children(self) -> set[int]:
        return set(self.workers())

    def hup(self, text: str) -> None:
        """Send SIGHUP, and wait until all workers are new."""
        old = eventually(lambda: len(self.children()) == 2 and self.children(), 60)
        self.file.write_text(text)
        self.process.send_signal(signal.SIGHUP)
        eventually(lambda: len(self.children()) == 2 and not self.children() & old, 60)

    def replace_all(self) -> None:
        """Kill each worker; wait until new ones answer."""
        old = self.children()
        for pid in old:
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: len(self.children()) == 2 and not self.children() & old, 60)
        eventually(self._live, 60)

    def ask(self, **fields) -> tuple[int, str | None]:
        answer = self.client().embed("embed", "a", **fields)
        return answer.status, None if answer.status == 200 else answer.error["code"]


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[..., Reloaded]]:
    with ExitStack() as stack:
        upstream = stack.enter_context(Upstream(32))
        yield lambda worker_class: stack.enter_context(
            Reloaded(tmp_path, upstream, worker_class=worker_class, workers=2)
        )


@pytest.mark.parametrize("worker_class", ["gevent", "gthread"])
def test_reload_under_load_applies_settings_and_blocks(start, worker_class):
    proxy = start(worker_class)
    assert proxy.ask(user="u-bad") == (200, None)
    with Load(proxy.port) as load:
        eventually(lambda: len(load.answered) > 50, 60)
        proxy.hup(proxy.good + "\nBLOCKED_USERS = ['u-bad']\n")
        before = len(load.answered)
        eventually(lambda: len(load.answered) > before + 50, 60)
    assert load.lost == []
    assert proxy.ask(user="u-bad") == (403, "user_blocked")
    assert proxy.ask(user="u-good") == (200, None)
    proxy.hup(proxy.good + "\nBLOCKED_KEYS = ['tests']\n")
    eventually(lambda: proxy.ask() == (403, "key_blocked"))


def test_session_of_the_console_outlives_a_reload_and_a_worker(start):
    proxy = start("gevent")
    with requests.Session() as browser:
        began = browser.post(f"{proxy.url}/console/login", data={"key": KEY}, timeout=30)
        assert began.status_code == 200
        proxy.hup(proxy.good + "\nBLOCKED_USERS = ['u-bad']\n")
        assert is_logged_in(browser, proxy)
        proxy.replace_all()
        assert is_logged_in(browser, proxy)
        proxy.hup(proxy.good + "\nBLOCKED_KEYS = ['tests']\n")
        eventually(lambda: not is_logged_in(browser, proxy))


def is_logged_in(browser: requests.Session, proxy: Proxy) -> bool:
    answer = browser.get(f"{proxy.url}/console/none", timeout=30, allow_redirects=False)
    return answer.status_code == 404


def test_new_workers_get_the_old_settings_while_the_file_is_wrong(start):
    proxy = start("gevent")
    blocked = proxy.good + "\nBLOCKED_USERS = ['u-bad']\n"
    proxy.hup(blocked)
    for wrong in (
        blocked + WRONG,
        "MODELS = {",
        "import os\nos.environ['NOT_SET']\n",
        blocked + "USAGE = {'url': 'postgresql://me:x@127.0.0.1:bad/usage'}\n",
        blocked + "MODELS['embed']['tokenizer'] = 'no_such_encoding'\n",
        blocked + "LIMIT = {}\n",
        blocked + "import sys\nsys.exit(0)\n",
        blocked + "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n",
    ):
        old = proxy.children()
        said = proxy.stderr().count("Not reloading, the settings are wrong")
        proxy.file.write_text(wrong)
        proxy.process.send_signal(signal.SIGHUP)
        eventually(
            lambda said=said: proxy.stderr().count("Not reloading, the settings are wrong") > said,
            60,
        )
        assert proxy.children() == old
    for named in ("no provider 'opnai' in PROVIDERS", "USAGE['url']: ", "'no_such_encoding'"):
        assert named in proxy.stderr()
    proxy.replace_all()
    assert proxy.ask(user="u-bad") == (403, "user_blocked")
    proxy.file.unlink()
    proxy.replace_all()
    assert proxy.ask(user="u-bad") == (403, "user_blocked")
    assert proxy.ask() == (200, None)
    proxy.hup(proxy.good)
    assert proxy.ask(user="u-bad") == (200, None)
