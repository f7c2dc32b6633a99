"""The chaos suite: ``make test-chaos``, which sets CHAOS=1; `make test` leaves it out.

Everything runs on this machine's loopback address, and ends by itself. CHAOS_SECONDS (60) is how
long each fault goes on, SOAK_SECONDS (1800) how long the soak takes. What was counted is printed
and added to build/chaos.jsonl, a line a test.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.stack import Stack
from tests.support.server import ROOT

collect_ignore_glob = [] if os.environ.get("CHAOS") else ["test_*.py"]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Callable[..., Stack]]:
    """Starts a provider, a proxy and an nginx before it."""
    with ExitStack() as cleanup:
        yield lambda **options: cleanup.enter_context(Stack(tmp_path, **options))


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Write down what a test has counted."""

    def write(**numbers: Any) -> None:
        line = {"test": request.node.name, "time": int(time.time()), **numbers}
        (ROOT / "build").mkdir(exist_ok=True)
        with (ROOT / "build" / "chaos.jsonl").open("a") as file:
            file.write(json.dumps(line, default=str) + "\n")
        print(line)

    return write
