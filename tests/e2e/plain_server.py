"""Servers of the app of `plain_app`, for each class of worker."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import WORKER_CLASSES
from tests.e2e.plain import Plain


@pytest.fixture(scope="module", params=WORKER_CLASSES)
def worker_class(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def server(worker_class: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plain]:
    """A server for tests that do not stop it."""
    with Plain(tmp_path_factory.mktemp("server"), worker_class) as plain:
        yield plain


@pytest.fixture
def start(worker_class: str, tmp_path: Path) -> Iterator[Callable[..., Plain]]:
    """Starts servers for one test."""
    with ExitStack() as stack:
        yield lambda *arguments, **options: stack.enter_context(
            Plain(tmp_path, worker_class, *arguments, **options)
        )
