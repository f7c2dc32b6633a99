"""What real engines do that nobody would have guessed; the rest of the tests keeps clear of it.

Tests that are expected to fail name what the proxy does not do yet.
"""

import threading

import numpy as np
import openai
import pytest

from tests.engines.engines import LIMIT
from tests.engines.test_vectors import SAME, cosines, vectors_of

TOO_LONG = "word " * 600  # tokens: more than llama.cpp's physical batch (--ubatch-size)


@pytest.fixture(scope="module")
def client(proxy):
    return proxy.client()


def test_infinity_cuts_a_long_text_silently(sdk):
    """As docs/providers.md says: what is past 256 tokens does not count."""
    long = sdk.embeddings.create(model="infinity", input=[TOO_LONG, "word " * 300])
    assert cosines(*[row[None] for row in vectors_of(long)])[0] > SAME


def test_a_text_that_infinity_refuses_is_told_to_the_caller(sdk):
    with pytest.raises(openai.BadRequestError, match="at most 122880 characters"):
        sdk.embeddings.create(model="infinity", input=["good", "x" * 122_881])


def test_the_refused_text_of_one_caller_leaves_the_others_alone(client):
    """Infinity refuses with 422, the merged calls are taken apart, the good ones succeed."""
    answers = _at_once(client, "infinity", lambda i: "x" * 122_881 if i % 8 == 3 else f"text {i}")
    assert [answer.status for answer in answers] == [400 if i % 8 == 3 else 200 for i in range(40)]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("한국어 텍스트", "llama.cpp does not take Hangul apart as the model's tokenizer does"),
        ("x" * 300, "a word over 100 letters is [UNK] to the tokenizer, pieces to llama.cpp"),
    ],
)
def test_the_same_weights_differ_by_engine(sdk, text, why):
    """`check` does not notice: none of its probe texts is Korean, or one long word."""
    a, b = (
        vectors_of(sdk.embeddings.create(model=m, input=text)) for m in ("infinity", "llamacpp")
    )
    assert cosines(a, b)[0] < 0.99, why


def test_a_text_past_the_context_of_llamacpp_is_told_to_the_caller(sdk):
    with pytest.raises(openai.BadRequestError, match="larger than the max context size"):
        sdk.embeddings.create(model="llamacpp", input=["good", "word " * 300])


@pytest.mark.xfail(
    raises=AssertionError,
    reason="Infinity cuts without scaling: the preset should let the proxy cut",
)
def test_narrower_vectors_of_infinity_have_length_1(sdk):
    answer = sdk.embeddings.create(model="infinity", input=["a text"], dimensions=64)
    assert np.linalg.norm(vectors_of(answer)[0]) == pytest.approx(1, abs=1e-5)


@pytest.mark.xfail(
    raises=AssertionError, reason="llama.cpp says 500 to a text that is too long for it"
)
def test_a_text_too_long_for_llamacpp_is_the_callers_mistake(client):
    answer = client.embed("llamacpp", TOO_LONG)
    assert answer.status == 400
    assert "too large to process" in answer.error["message"]


@pytest.mark.xfail(
    raises=AssertionError, reason="a call that was merged and failed with 500 is not taken apart"
)
def test_a_text_too_long_for_llamacpp_leaves_other_callers_alone(client):
    answers = _at_once(client, "narrow", lambda i: TOO_LONG if i % 8 == 3 else f"text {i}")
    assert [answers[i].status for i in range(40) if i % 8 != 3] == [200] * 35


def test_more_inputs_than_infinity_takes_are_split(client):
    answer = client.embed("infinity", [f"text {i}" for i in range(2 * LIMIT + 1)])
    assert len(answer.embeddings) == 2 * LIMIT + 1


def _at_once(client, model, text):
    """40 callers with a text each; their answers in order."""
    answers = {}

    def ask(i):
        answers[i] = client.embed(model, text(i))

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [answers[i] for i in range(40)]
