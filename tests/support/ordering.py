"""The order in which test modules run, and which of them are measured for coverage."""

from collections import Counter

import pytest

#: Modules whose simulations have thousands of requests. Coverage would take more than half of
#: their time; shorter simulations and the tests of single files reach the same lines.
SIMULATIONS = {
    f"tests/{name}.py"
    for name in (
        "dispatch/test_answers_complete",
        "dispatch/test_auto_concurrency",
        "dispatch/test_budgets",
        "dispatch/test_fair_shares",
        "dispatch/test_recovery",
        "dispatch/test_scenarios",
        "dispatch/test_search",
        "dispatch/test_silence",
        "dispatch/test_simulation",
        "dispatch/test_slow_start",
        "cli/simulation/test_any_load",
    )
}
#: How many modules of each kind run in a turn; those of other kinds run after all turns.
MODULES_PER_TURN = {"simulations": 1, "e2e": 2}


def arrange(items: list[pytest.Item]) -> None:
    """Put long modules first, so that short ones fill the time until the last worker is done.

    Simulations compute and end-to-end tests mostly wait: one module of simulations for two of
    those, so that the three workers use two cores.
    """
    turns: dict[str, float] = {}
    modules: Counter[str] = Counter()
    for item in items:
        name = _module(item)
        if name in SIMULATIONS:
            item.add_marker(pytest.mark.no_cover)
        if name not in turns:
            kind = "simulations" if name in SIMULATIONS else name.split("/")[1]
            per_turn = MODULES_PER_TURN.get(kind)
            turns[name] = modules[kind] // per_turn if per_turn else float("inf")
            modules[kind] += 1
    items.sort(key=lambda item: turns[_module(item)])


def _module(item: pytest.Item) -> str:
    """Return the path of its file: "tests/dispatch/test_search.py"."""
    return item.nodeid.partition("::")[0]
