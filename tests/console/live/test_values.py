"""Values of the page Now, as the server writes them; tests/e2e has them in JavaScript, too."""

import pytest

from app.console.live.values import KINDS, LiveValues

ANSWER = {"models": [{"deployments": [{"state": "ejected", "latency_ms": 1.5, "quota": None}]}]}


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("duration", 0.25, "0.25 ms"),
        ("duration", 12.34, "12.3 ms"),
        ("duration", 1234.0, "1.23 s"),
        ("duration", 1_234_567.0, "1,235 s"),
        ("percent", 0.4321, "43.2 %"),
        ("money", 0.00001, "<$0.0001"),
        ("money", 0.0012, "$0.0012"),
        ("cosine", 0.999871, "0.99987"),
        ("workers", {"ok": 2}, ""),
        ("workers", {"ok": 1, "ejected": 1}, "ok in 1, ejected in 1"),
        ("slow", 1.0, ""),
        ("slow", 0.4, "slow start, 40 %"),
        ("wait", None, ""),
        ("wait", 12.3, "for 12 s"),
    ],
)
def test_value_is_written(kind, value, text):
    assert KINDS[kind](value) == text


@pytest.mark.parametrize("kind", ["short", "count", "money", "duration", "percent", "cosine"])
def test_nothing_is_a_dash(kind):
    assert KINDS[kind](None) == "\N{EN DASH}"


def test_value_is_found_by_its_path():
    live = LiveValues(ANSWER)
    path = "models.0.deployments.0"
    assert live(f"{path}.latency_ms", "duration") == (
        f'<span data-live="{path}.latency_ms" data-as="duration">1.5 ms</span>'
    )
    assert "\N{EN DASH}" in live(f"{path}.quota.tokens_left", "short")
    assert 'class="tag bad"' in live.state(f"{path}.state")


def test_values_are_escaped():
    live = LiveValues({"error": "<img src=x>"})
    assert "Last error: &lt;img src=x&gt;" in live("error", "error")
