"""Too large requests are split: by the tokenizer, by learned sizes, by halves."""

import time

from app.domain import EmbeddingRequest
from app.errors import Rejected
from tests.dispatch.arrangements import Stub, codes, dispatcher, load, models, vectors
from tests.dispatch.simulator import simulated

LIMIT = 300  # tokens of a call
TOO_LARGE = "Requested more tokens than the maximum of 300 per request"


class BytesAToken:
    """A tokenizer with a fixed number of bytes per token."""

    def __init__(self, bytes_a_token):
        self.bytes_a_token = bytes_a_token

    def count(self, items):
        return [-(-len(item) // self.bytes_a_token) for item in items]

    def decode(self, tokens):
        raise NotImplementedError


def strict(tokenizer, told=None):
    """A provider that refuses calls over the limit, and records refusals in ``told``."""

    def answer(call):
        counts = tokenizer.count(call.items)
        if sum(counts) > LIMIT:
            if told is not None:
                told.append(len(call.items))
            raise Rejected(TOO_LARGE)
        return vectors(call.items, tokens=counts[0])

    return Stub(answer)


def embed(made, items):
    return made.embed(EmbeddingRequest("m", items), time.monotonic() + 60)


def test_a_request_is_split_by_the_tokens_of_the_models_tokenizer():
    """Two bytes a token: 500 items of 10 tokens are 17 calls, each within the limit."""
    tokenizer = BytesAToken(2)
    provider = strict(tokenizer)
    outcome = embed(dispatcher({"a": provider}, tokenizer, max_tokens=LIMIT), ["x" * 20] * 500)
    assert len(outcome.vectors.rows) == 500
    assert len(provider.calls) == 18


def test_request_that_fits_by_the_tokenizer_is_not_split():
    """Thirty bytes a token: 300 items of one token are one call."""
    tokenizer = BytesAToken(30)
    provider = strict(tokenizer)
    embed(dispatcher({"a": provider}, tokenizer, max_tokens=LIMIT), ["x" * 30] * 300)
    assert len(provider.calls) == 1


def test_bytes_per_token_are_learned_from_counts_of_the_provider():
    """No tokenizer is named. Small requests teach that a token is two bytes here."""
    refused = []
    provider = strict(BytesAToken(2), refused)
    made = dispatcher({"a": provider}, max_tokens=LIMIT)
    for i in range(100):
        embed(made, [f"{i:020}"])
    outcome = embed(made, ["x" * 20] * 500)
    assert len(outcome.vectors.rows) == 500
    assert not refused


def sized(limit, real=lambda item: len(item) // 2):
    """Refuse calls of more than this number of real tokens as too large."""

    def behaviour(world, call):
        if sum(map(real, call.items)) > limit:
            return 0.05, Rejected(TOO_LARGE, too_large=True)
        return 0.05, None

    return behaviour


def test_request_refused_as_too_large_is_sent_in_halves():
    """Hexadecimal digests: 400,000 tokens, estimate 267,000, limit 300,000."""
    with simulated({"a": sized(300_000)}, models("a", max_tokens=300_000)) as run:
        asked = run.ask("m", [f"{i:01600}" for i in range(500)], timeout=60)
        run.world.run()
        assert codes([asked]) == {"ok": 1}
        assert 3 <= len(run.calls()) <= 5


def test_large_request_is_halved_until_it_fits():
    with simulated({"a": sized(1000)}, models("a")) as run:
        asked = run.ask("m", [f"{i:0100}" for i in range(256)], timeout=60)  # 12,800 tokens
        run.world.run()
        assert codes([asked]) == {"ok": 1}
        assert max(len(call.items) for call in run.calls() if call.error is None) >= 8


def test_single_item_refused_as_too_large_is_a_400():
    with simulated({"a": sized(1000)}, models("a")) as run:
        asked = run.ask("m", ["x" * 4000], timeout=60)
        run.world.run()
        assert codes([asked]) == {"BadRequest": 1}
        assert len(run.calls()) == 1


def test_too_large_item_in_a_batch_fails_only_its_request():
    with simulated({"a": sized(1000)}, models("a"), concurrency=1) as run:
        bad = run.ask("m", ["x" * 4000, *(f"{i}" for i in range(20))], after=0.01)
        others = load(run, 20, 0.001)
        run.world.run()
        assert codes([bad]) == {"BadRequest": 1}
        assert codes(others) == {"ok": 20}


def test_a_refusal_for_size_ejects_nothing_and_is_no_failure():
    with simulated({"a": sized(1000), "b": sized(1000)}, models("a", "b")) as run:
        for k in range(20):
            run.ask("m", [f"{k} {i:0100}" for i in range(64)], after=k * 1.0, timeout=60)
        run.world.run()
        assert codes(run.asked) == {"ok": 20}
        assert all(run.deployment(name).breaker.ejections_ever == 0 for name in "ab")
