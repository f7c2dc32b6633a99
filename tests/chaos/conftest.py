"""The chaos suite: ``make test-chaos``, which sets CHAOS=1; `make test` leaves it out.

All servers run on the loopback address and are stopped at the end. CHAOS_SECONDS (60) is the length
of each fault, SOAK_SECONDS (1800) that of the soak. The counts are printed and added to
build/chaos.jsonl, one line for each test.
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
    """Starts providers, a proxy and nginx."""
    with ExitStack() as cleanup:
        yield lambda **options: cleanup.enter_context(Stack(tmp_path, **options))


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Write the counts of a test to the report."""

    def write(**numbers: Any) -> None:
        line = {"test": request.node.name, "time": int(time.time()), **numbers}
        (ROOT / "build").mkdir(exist_ok=True)
        with (ROOT / "build" / "chaos.jsonl").open("a") as file:
            file.write(json.dumps(line, default=str) + "\n")
        print(line)

    return write
