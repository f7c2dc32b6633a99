"""llama.cpp's server: OpenAI's format, and a 500 where a text is too long for it."""

import json

import pytest

from app.domain import Call
from app.errors import ProviderUnavailable, Rejected
from app.providers.base import Incoming
from tests.providers.contract import ProviderContract, soon, wire_of
from tests.providers.fakes.openai import OpenAIFake
from tests.providers.test_presets import SPECS
from tests.support.vectors import encode, vector

TOO_LARGE = (
    "input (602 tokens) is too large to process. increase the physical batch size "
    "(current batch size: 512)"
)


def answer(status, body):
    return Incoming(status, {}, json.dumps(body).encode())


def refused(message, status=500):
    body = {"error": {"code": status, "message": message, "type": "server_error"}}
    return wire_of(kind="llamacpp").refuse(answer(status, body), [])


def test_the_documented_request():
    """github.com/ggml-org/llama.cpp, tools/server/README.md, "POST /v1/embeddings", "`input` as
    string array", but for the encoding."""
    wire = wire_of(kind="llamacpp", api_key="no-key")
    out = wire.build(Call("GPT-4", ["hello", "world"], None, dimensions=64))
    assert json.loads(out.body) == {
        "input": ["hello", "world"],
        "model": "GPT-4",
        "encoding_format": "base64",
    }
    assert out.path == "/embeddings"
    assert out.headers == {"Authorization": "Bearer no-key"}


def test_an_answer_as_the_server_gives_it():
    """Fields and their order as seen: the README shows no answer."""
    rows = [vector(text, 8) for text in ("hello", "world")]
    body = {
        "model": "GPT-4",
        "object": "list",
        "usage": {"prompt_tokens": 6, "total_tokens": 6},
        "data": [
            {
                "embedding": encode(row),
                "index": index,
                "object": "embedding",
                "encoding_format": "base64",
            }
            for index, row in enumerate(rows)
        ],
    }
    asked = Call("GPT-4", ["hello", "world"], 8)
    vectors = wire_of(kind="llamacpp").parse(answer(200, body), asked)
    assert vectors.rows == [row.tobytes() for row in rows]
    assert (sum(vectors.tokens), vectors.encoding) == (6, "base64")


def test_a_text_too_large_for_the_batch_is_the_callers_mistake():
    """Through the whole provider: it is told why, and nobody tries again."""
    suite = type("Suite", (ProviderContract,), {"kind": "llamacpp"})()
    with OpenAIFake(SPECS["llamacpp"]) as fake:
        provider = suite.provider(fake)
        with pytest.raises(Rejected) as raised:
            provider.embed(suite.call(["short", "word " * 602]), soon())
    assert raised.value.message == TOO_LARGE


def test_so_are_its_older_words():
    older = "input is too large to process. increase the physical batch size"
    assert refused(older).message == older


@pytest.mark.parametrize("status", [500, 503])
@pytest.mark.parametrize("message", ["Loading model", "", "failed to decode, ret = -3"])
def test_other_failures_stay_failures(status, message):
    assert isinstance(refused(message, status), ProviderUnavailable)


def test_what_it_says_is_told_without_secrets():
    message = f"{TOO_LARGE} at http://10.0.0.7:8080/v1 for sk-proj-0123456789"
    assert refused(message).message == f"{TOO_LARGE} at [redacted] for [redacted]"


@pytest.mark.parametrize(
    "message",
    [TOO_LARGE, "input (9000 tokens) is larger than the max context size (512 tokens). skipping"],
)
def test_localai_passes_on_its_refusals_of_a_text_as_its_own_failures(message):
    """backend/cpp/llama-cpp/grpc-server.cpp, `Embedding`: INTERNAL for every error of a task."""
    body = {"code": 500, "message": f"rpc error: code = Internal desc = {message}", "type": ""}
    found = wire_of(kind="localai").refuse(answer(500, {"error": body}), [])
    assert type(found) is Rejected
    assert message[:20] in found.message
