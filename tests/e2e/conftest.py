"""Fixtures of the console's tests: one Chromium, and one proxy with all that its pages show."""

from collections.abc import Iterator

import pytest

from app.auth.key_table import KeyTable
from app.database.engine import Database
from app.database.migrations import migrate
from tests.support import settings
from tests.support.console_browser import Browser
from tests.support.server import Proxy
from tests.support.upstream import Upstream

ADMIN_KEY = "sk-proxy-administrator"
#: A name that shows where a page does not escape: as markup it would run.
XSS_NAME = "<img src=x onerror=\"document.title='xss'\">"
XSS_KEY = "sk-proxy-with-a-name-of-markup"


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A Chromium for all tests of the console."""
    with Browser() as started:
        yield started


@pytest.fixture(scope="session")
def console_upstream() -> Iterator[Upstream]:
    """The provider of the console's proxy."""
    with Upstream(settings.WIDTH) as upstream:
        yield upstream


@pytest.fixture(scope="session")
def console_keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeyTable]:
    """The table of keys of the console's proxy; ``url`` is the address of its database."""
    database = Database(f"sqlite:///{tmp_path_factory.mktemp('console-db')}/usage.db")
    migrate(database.engine)
    table = KeyTable(database)
    table.url = str(database.engine.url)
    yield table
    database.close()


@pytest.fixture(scope="session")
def console_proxy(
    tmp_path_factory: pytest.TempPathFactory, console_upstream: Upstream, console_keys: KeyTable
) -> Iterator[Proxy]:
    """A proxy of two workers, with a ledger and keys in its database.

    `ADMIN_KEY` is an administrator's, `settings.KEY` may use every model, NARROW_KEY of it one.
    """
    directory = tmp_path_factory.mktemp("console")
    keys = {
        **settings.KEYS,
        "admin": {**settings.key(ADMIN_KEY, "*"), "admin": True},
        XSS_NAME: settings.key(XSS_KEY, "*"),
    }
    path = settings.settings_file(
        directory,
        {"p": settings.provider(console_upstream), "local": {"kind": "local"}},
        {
            "steady": settings.model("p"),
            "wordllama": settings._models()["wordllama"],
        },
        keys,
        USAGE={"url": console_keys.url, "keys": True},
    )
    with Proxy(directory, path, workers=2) as proxy:
        yield proxy
