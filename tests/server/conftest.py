"""Workers that end after the test."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from gunicorn.http import wsgi

from tests.conftest import WORKER_CLASSES
from tests.server.running import Running


@pytest.fixture(autouse=True)
def _restored_errors_wrapper(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore the class that a worker replaces in gunicorn, for other tests in this process."""
    monkeypatch.setattr(wsgi, "WSGIErrorsWrapper", wsgi.WSGIErrorsWrapper)


@pytest.fixture(params=WORKER_CLASSES)
def start(request: pytest.FixtureRequest) -> Iterator[Callable[..., Running]]:
    running: list[Running] = []

    def start(**settings: Any) -> Running:
        running.append(Running(request.param, **settings))
        return running[-1]

    yield start
    for each in running:
        each.stop()
