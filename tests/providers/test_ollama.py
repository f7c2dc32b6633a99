"""Ollama."""

import json

import numpy as np
import pytest

from app.domain import Call
from app.errors import ProviderUnavailable, Rejected
from app.providers.base import Incoming
from tests.providers.contract import ProviderContract, soon, wire_of
from tests.providers.fakes.base import Refused
from tests.providers.fakes.ollama import OllamaFake

CALL = Call("all-minilm", ["Why is the sky blue?", "Why is the grass green?"], 3)


class TestOllama(ProviderContract):
    kind = "ollama"
    variants = [{}, {"truncate": True, "keep_alive": "10m", "options": {"num_ctx": 8192}}]

    def new_fake(self):
        return OllamaFake()

    @pytest.mark.parametrize("status", [400, 500])
    def test_too_long_text_is_a_400(self, fake, status):
        """server/routes.go: 400 since 0.12, 500 before."""
        fake.behaviour.refusal = Refused(status, "the input length exceeds the context length")
        with pytest.raises(Rejected, match="exceeds the context length"):
            self.provider(fake).embed(self.call(["x"]), soon())


def test_documented_request_and_response():
    """github.com/ollama/ollama, docs/api.md, "Request (Multiple input)"; vectors cut short."""
    wire = wire_of(kind="ollama")
    out = wire.build(CALL)
    assert json.loads(out.body) == {
        "model": "all-minilm",
        "input": ["Why is the sky blue?", "Why is the grass green?"],
        "truncate": False,
    }
    assert (wire.base_url, out.path, out.headers) == ("http://127.0.0.1:11434", "/api/embed", {})
    values = [
        [0.010071029, -0.0017594862, 0.05007221],
        [-0.0098027075, 0.06042469, 0.025257962],
    ]
    body = {"model": "all-minilm", "embeddings": values}
    vectors = wire.parse(Incoming(200, {}, json.dumps(body).encode()), CALL)
    assert vectors.rows == [np.array(v, "<f4").tobytes() for v in values]
    assert vectors.estimated
    body["prompt_eval_count"] = 8
    counted = wire.parse(Incoming(200, {}, json.dumps(body).encode()), CALL)
    assert sum(counted.tokens) == 8


def test_other_500_is_a_failure():
    error = wire_of(kind="ollama").refuse(Incoming(500, {}, b'{"error": "out of memory"}'), [])
    assert isinstance(error, ProviderUnavailable)


@pytest.mark.parametrize("given", ["5", "soon", "10m; rm"])
def test_keep_alive_needs_a_unit(given):
    with pytest.raises(Exception, match="keep_alive"):
        wire_of(kind="ollama", keep_alive=given)
