"""Real engines behind the real proxy, by ``make test-engines`` only: see README.md."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import openai
import pytest

from tests.engines.engines import KINDS, WIDTH, Engine, Truth, convert, truth
from tests.engines.texts import varied
from tests.support.server import Proxy
from tests.support.settings import KEY, key, settings_file

collect_ignore_glob = [] if os.environ.get("ENGINES") == "1" else ["test_*.py"]

PATIENCE = 600  # seconds a test may take: torch shares two cores with other programs


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/engines" in item.path.as_posix():
            item.add_marker(pytest.mark.timeout(PATIENCE))


@pytest.fixture(scope="session")
def start_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Engine]]:
    """Starts a further engine of a kind; it runs until the tests end or stop it."""
    with ExitStack() as stack:

        def start(name: str, *options: str) -> Engine:
            if name == "llamacpp":
                convert()
            return stack.enter_context(Engine(name, tmp_path_factory.mktemp("engine"), *options))

        yield start


@pytest.fixture(scope="session")
def engines(start_engine: Callable[..., Engine]) -> dict[str, Engine]:
    """One engine of each kind."""
    return {name: start_engine(name) for name in KINDS}


def model(*providers: str, **options: Any) -> dict[str, Any]:
    """Return an entry of MODELS with deployments at these providers."""
    deployments = [{"provider": provider, "model": "served"} for provider in providers]
    # Different kinds of engine that serve one file: only the tests know that it is one space.
    named = {"space": "served"} if len(providers) > 1 else {}
    return {"dimensions": WIDTH, "deployments": deployments, **named, **options}


@pytest.fixture(scope="session")
def proxy(engines: dict[str, Engine], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy with a model for each engine; the proxy cuts to narrower widths."""
    directory = tmp_path_factory.mktemp("proxy")
    path = settings_file(
        directory,
        {
            **{name: engine.provider() for name, engine in engines.items()},
            "narrow": engines["llamacpp"].provider(concurrency=1),
            "unknown": engines["llamacpp"].provider(
                kind="openai", send_dimensions=False, concurrency=1
            ),
        },
        {
            **{name: model(name, matryoshka=True) for name in engines},
            **{name: model(name) for name in ("narrow", "unknown")},
        },
        {"tests": key(KEY, "*")},
    )
    with Proxy(directory, path) as running:
        yield running


@pytest.fixture(scope="session")
def sdk(proxy: Proxy) -> Iterator[openai.OpenAI]:
    """OpenAI's client, without retries."""
    with openai.OpenAI(base_url=proxy.url + "/v1", api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return varied()


@pytest.fixture(scope="session")
def truth_of(texts: list[str]) -> Callable[[str], Truth]:
    """Return vectors and tokens of `texts` by the library of an engine, computed once."""
    known: dict[str, Truth] = {}

    def of(engine: str) -> Truth:
        library = KINDS[engine].library
        if library not in known:
            known[library] = truth(library, texts)
        return known[library]

    return of
