"""Fixtures for all tests: proxies, and the providers behind them.

The start of a proxy takes a second or two, so most tests share one, which is started when a test
first uses it. The providers' scripts and recorded calls are cleared before each test.
"""

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any

import hypothesis
import pytest

# The same examples in each run, so that a new failure is due to a change; `seek` tries new ones.
# No deadline for an example: it would fail on a busy machine.
hypothesis.settings.register_profile("steady", derandomize=True, deadline=None)
hypothesis.settings.register_profile("seek", max_examples=1000, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))

pytest.register_assert_rewrite("tests.support")

from tests.support import scratch  # noqa: E402 - as below

scratch.use_memory(os.environ)  # before the first temporary file, and for all processes

from app.concurrency.periodic import PeriodicTask  # noqa: E402
from tests.support import ordering, settings, stalls  # noqa: E402 - after the line above, for asserts
from tests.support.client import Client  # noqa: E402
from tests.support.server import Proxy  # noqa: E402
from tests.support.upstream import Upstream  # noqa: E402
from tests.support.valkey import Valkey  # noqa: E402

WORKER_CLASSES = ["gevent", "gthread"]
_used = Counter()  # models handed out by `fresh`


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long modules run first."""
    ordering.arrange(items)


@pytest.fixture(autouse=True)
def _unconfigured_logs() -> Iterator[None]:
    """Undo `logs.configure`: an app logs to the standard output of its test, closed after it."""
    yield
    logging.getLogger("app").handlers = []
    logging.getLogger("app").propagate = True
    logging.getLogger("app").setLevel(logging.NOTSET)
    logging.getLogger("app.requests").handlers = []


@pytest.fixture(autouse=True)
def _no_task_outlives_its_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stop the background tasks of an app in this process.

    One that goes on would use the clock and the locks that a later test replaces, and draw random
    numbers while Hypothesis draws its own.
    """
    started: list[PeriodicTask] = []
    start = PeriodicTask.start

    def start_and_remember(task: PeriodicTask) -> None:
        started.append(task)
        start(task)

    monkeypatch.setattr(PeriodicTask, "start", start_and_remember)
    yield
    for task in started:
        task.stop(5)


@pytest.fixture(scope="session")
def providers() -> Iterator[SimpleNamespace]:
    """The providers of the shared settings: one scripted, one steady, two unreachable."""
    with ExitStack() as stack:
        yield SimpleNamespace(
            upstream=stack.enter_context(Upstream(settings.WIDTH)),
            steady=stack.enter_context(Upstream(settings.WIDTH)),
            closed=stack.enter_context(stalls.closed_port()),
            hole=stack.enter_context(stalls.black_hole()),
        )


@pytest.fixture
def upstream(providers: SimpleNamespace) -> Iterator[Upstream]:
    """The provider that tests script. It serves all models except "steady"."""
    providers.upstream.reset()
    yield providers.upstream
    providers.upstream.reset()


@pytest.fixture
def fresh() -> Callable[[str], str]:
    """Return an unused model of a kind: "embed-7" of "embed".

    The proxy ejects failing deployments for some time, so a test with a failing provider uses a
    model of its own. Otherwise later tests would fail.
    """

    def name(kind: str) -> str:
        _used[kind] += 1
        return f"{kind}-{_used[kind] - 1}"

    return name


@pytest.fixture
def steady(providers: SimpleNamespace) -> Upstream:
    """The provider of the model "steady", which no test scripts."""
    providers.steady.reset()
    return providers.steady


@contextmanager
def _starting(
    tmp_path_factory: pytest.TempPathFactory, providers: SimpleNamespace
) -> Iterator[Callable[..., Proxy]]:
    """Start proxies with the shared settings, and stop all at the end."""
    with ExitStack() as stack:

        def start(worker_class: str | None = None, **options: Any) -> Proxy:
            directory = tmp_path_factory.mktemp("proxy")
            overlay = {name: options.pop(name) for name in list(options) if name in OVERLAY}
            path = settings.settings_file(
                directory, **settings.shared(**vars(providers)), **overlay
            )
            proxy = Proxy(directory, path, worker_class=worker_class, **options)
            return stack.enter_context(proxy)

        yield start


@pytest.fixture(scope="module")
def start_proxy(
    tmp_path_factory: pytest.TempPathFactory, providers: SimpleNamespace
) -> Iterator[Callable[..., Proxy]]:
    """Starts proxies with the shared settings; keywords are CACHE, LIMITS … or those of `Proxy`.

    They stop after the last test of a module: an idle worker takes 0.3 % of a core.
    """
    with _starting(tmp_path_factory, providers) as start:
        yield start


OVERLAY = {"CACHE", "LIMITS", "LOGS", "keys"}


@pytest.fixture(scope="session")
def _start_for_session(
    tmp_path_factory: pytest.TempPathFactory, providers: SimpleNamespace
) -> Iterator[Callable[..., Proxy]]:
    with _starting(tmp_path_factory, providers) as start:
        yield start


@pytest.fixture(scope="session")
def proxy(_start_for_session: Callable[..., Proxy]) -> Proxy:
    """The proxy of most tests: shared settings, default worker class."""
    return _start_for_session()


@pytest.fixture(scope="session")
def proxy_of(_start_for_session: Callable[..., Proxy]) -> Callable[[str], Proxy]:
    """Return the proxy of most tests under another worker class, started at its first use."""
    started: dict[str, Proxy] = {}

    def of(worker_class: str) -> Proxy:
        if worker_class not in started:
            started[worker_class] = _start_for_session(worker_class)
        return started[worker_class]

    return of


@pytest.fixture(scope="session")
def default_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy without a settings file: the embedded model, and the key from the environment."""
    directory = tmp_path_factory.mktemp("default")
    with Proxy(directory, ALPHANEURAL_API_KEY=settings.KEY) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: Proxy) -> Client:
    """A client of the shared proxy, with a key for all models."""
    return proxy.client()


@pytest.fixture(scope="module")
def valkey():
    """A real Valkey for a cache or limits, one for each test module."""
    with Valkey() as server:
        yield server


@pytest.fixture
def redis(valkey):
    """A client of the Valkey, which is empty."""
    with valkey.client() as client:
        client.flushall()
        client.script_flush()
        yield client
