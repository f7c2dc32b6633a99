"""Unexpected behaviour of real engines, which the other tests avoid."""

import threading

import openai
import pytest

from tests.engines.conftest import model
from tests.engines.engines import LIMIT
from tests.engines.test_vectors import SAME, cosines, vectors_of
from tests.support.server import Proxy
from tests.support.settings import KEY, key, settings_file

TOO_LONG = "word " * 600  # tokens: more than llama.cpp's physical batch (--ubatch-size)


@pytest.fixture(scope="module")
def client(proxy):
    return proxy.client()


def test_infinity_cuts_a_long_text_silently(sdk):
    """Tokens after the first 256 do not count, as docs/providers.md says."""
    long = sdk.embeddings.create(model="infinity", input=[TOO_LONG, "word " * 300])
    assert cosines(*[row[None] for row in vectors_of(long)])[0] > SAME


def test_text_refused_by_infinity_is_a_400(sdk):
    with pytest.raises(openai.BadRequestError, match="at most 122880 characters"):
        sdk.embeddings.create(model="infinity", input=["good", "x" * 122_881])


def test_refused_text_does_not_fail_other_callers(client):
    """Infinity answers 422, the merged call is bisected, and good texts succeed."""
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
    """`check` finds it, because its probe texts have Korean and a long word."""
    a, b = (
        vectors_of(sdk.embeddings.create(model=m, input=text)) for m in ("infinity", "llamacpp")
    )
    assert cosines(a, b)[0] < 0.99, why


def test_text_over_the_context_of_llamacpp_is_a_400(sdk):
    with pytest.raises(openai.BadRequestError, match="larger than the max context size"):
        sdk.embeddings.create(model="llamacpp", input=["good", "word " * 300])


def test_text_too_long_for_llamacpp_is_a_400(proxy, client):
    """It answers 500, which is retried at other kinds."""
    answer = client.embed("llamacpp", TOO_LONG)
    assert answer.status == 400
    assert "too large to process" in answer.error["message"]
    assert proxy.log_line(answer.headers["x-request-id"])["attempts"] == 1


def test_text_too_long_for_llamacpp_does_not_fail_other_callers(client):
    answers = _at_once(client, "narrow", lambda i: TOO_LONG if i % 8 == 3 else f"text {i}")
    assert [answer.status for answer in answers] == [400 if i % 8 == 3 else 200 for i in range(40)]


def test_merged_call_that_fails_with_500_is_retried_alone(client):
    """The same server with a kind that reads its 500 as a failure: only the bad request fails."""
    answers = _at_once(client, "unknown", lambda i: TOO_LONG if i % 8 == 3 else f"text {i}")
    assert [answer.status for answer in answers] == [502 if i % 8 == 3 else 200 for i in range(40)]


def test_infinity_counts_characters_without_the_option(start_engine, tmp_path):
    """As docs/providers.md says; other tests start the engine with the option."""
    untold = start_engine("infinity", "--no-lengths-via-tokenize")
    path = settings_file(
        tmp_path,
        {"untold": untold.provider()},
        {"minilm": model("untold")},
        {"tests": key(KEY, "*")},
    )
    with Proxy(tmp_path, path) as running:
        answer = running.client().embed("minilm", "three little words")
    assert answer.json["usage"]["prompt_tokens"] == len("three little words")


def test_more_inputs_than_infinity_takes_are_split(client):
    answer = client.embed("infinity", [f"text {i}" for i in range(2 * LIMIT + 1)])
    assert len(answer.embeddings) == 2 * LIMIT + 1


def _at_once(client, model, text):
    """Run 40 callers with one text each; return their answers in order."""
    answers = {}

    def ask(i):
        answers[i] = client.embed(model, text(i))

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [answers[i] for i in range(40)]
