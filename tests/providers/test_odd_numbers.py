"""Counts and waits that providers write oddly are read, or ignored."""

import json
import re

import pytest

from app.domain import Call
from app.providers.base import Incoming
from tests.providers.contract import wire_of
from tests.providers.golden import GOLDEN, ONE


def counted(name, written, headers=None):
    """Return the counts that are read if each is written like this."""
    wire, model, golden = GOLDEN[name]
    body = re.sub(r'((?:ount|okens)": )[0-9]+', lambda m: m[1] + written, json.dumps(golden))
    call = Call(model, ["a"] if name in ONE else ["a", "b"], 2)
    return wire.parse(Incoming(200, headers or {}, body.encode()), call)


COUNTING = sorted(set(GOLDEN) - {"tei", "bedrock, cohere", "nova"})


@pytest.mark.parametrize("name", COUNTING)
def test_a_count_written_as_a_float_is_a_count(name):
    for written in ("6.0", "6e0", "6"):
        vectors = counted(name, written)
        assert not vectors.estimated
        assert sum(vectors.tokens) == (12 if name == "vertex" else 6)


@pytest.mark.parametrize("name", COUNTING)
@pytest.mark.parametrize(
    "written",
    ["-1", "5.5e300", "1e999", "9" * 5000, str(2**62), "null", '"many"', "[]", "{}", "true"],
    ids=lambda written: written[:20],
)
def test_invalid_count_does_not_fail_the_answer(name, written):
    vectors = counted(name, written)
    assert vectors.estimated
    assert list(vectors.tokens) == [1] * len(vectors.rows)


@pytest.mark.parametrize(
    ("name", "header"),
    [("tei", "x-compute-tokens"), ("nova", "x-amzn-bedrock-input-token-count")],
)
def test_count_in_a_header_is_read(name, header):
    right = counted(name, "", {header: "6"})
    assert (sum(right.tokens), right.estimated) == (6, False)
    for value in ("", "-1", "9" * 4301, str(2**62), "٣", "6.5", "+6", "1_0"):
        assert counted(name, "", {header: value}).estimated


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6m0s", 360),
        ("1h2m3.5s", 3723.5),
        ("20ms", 0.02),
        ("1d", 86_400),
        ("1.2.3s", None),
        ("soon", None),
        ("5", 5),  # Azure's
        ("9" * 400 + "s", None),
        ("٣s", None),
        ("", None),
    ],
)
def test_reset_of_a_limit_is_read(text, seconds):
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": text}
    error = wire_of(kind="openai").refuse(Incoming(429, headers, b""), [])
    assert error.retry_after == seconds
