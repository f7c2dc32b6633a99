"""Ollama's own API, which says more than its OpenAI one: whether to cut, how long to keep a model.

Source: docs.ollama.com/api/embed, and server/routes.go in github.com/ollama/ollama (of August
2026), read on 2026-11-29. Its default cuts long texts silently; ours is an error, as it is at
OpenAI: ``"truncate": True`` brings the cut back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from marshmallow import fields, validate

from app.config import ProviderSettings
from app.config.fields import boolean
from app.domain import Call, Vectors
from app.errors import ProviderError
from app.providers.base import Capabilities, Incoming, LongText, Outgoing, WireFormat
from app.providers.bodies import count_in, encode, guard, only_text, read, row_of
from app.providers.options import NO_EFFECT, Option, changes_vector
from app.providers.refusals import blamed, clean, message_of

OPTIONS = {
    "truncate": Option(boolean(), changes_vector(False)),
    # False for servers and models that ignore it: the proxy may then cut (see "matryoshka").
    "send_dimensions": Option(boolean(), changes_vector(True)),
    "keep_alive": Option(
        fields.String(validate=validate.Regexp(r"^-?\d+(?:\.\d+)?(?:ms|s|m|h)\Z")), NO_EFFECT
    ),
    # The model's own, for instance {"num_ctx": 8192}.
    "options": Option(fields.Dict(keys=fields.String()), changes_vector({})),
}


def make(settings: ProviderSettings) -> Ollama:
    return Ollama(settings)


class _Answer(msgspec.Struct):
    embeddings: list[msgspec.Raw]
    prompt_eval_count: msgspec.Raw = msgspec.Raw()  # left out where it is 0


_answer = msgspec.json.Decoder(_Answer)
#: Servers before 0.12 say 500 to a text that is too long.
_BLAMES_INPUT = ("context length",)


class Ollama(WireFormat):
    """``POST {base_url}/api/embed``; a key is for servers behind a gateway."""

    base_url = "http://127.0.0.1:11434"

    def __init__(self, settings: ProviderSettings) -> None:
        options = settings.options
        self.capabilities = Capabilities(
            # It embeds one text after the other: more at once only waits longer for the first.
            max_inputs=256,
            dimensions=options.get("send_dimensions", True),
            tokens=False,
            long_text=LongText.chosen(options.get("truncate", False)),
        )
        self._always = {
            "truncate": options.get("truncate", False),
            **{name: options[name] for name in ("keep_alive", "options") if name in options},
        }
        self._headers = {"Authorization": f"Bearer {settings.api_key}"} if settings.api_key else {}

    def build(self, call: Call) -> Outgoing:
        only_text(call)
        body: dict[str, Any] = {
            **self._always,
            **call.passed,
            "model": call.model,
            "input": call.items,
        }
        if call.dimensions is not None:
            body["dimensions"] = call.dimensions
        return Outgoing("/api/embed", encode(body), self._headers)

    def parse(self, answer: Incoming, call: Call) -> Vectors:
        found = read(_answer, answer.body, "Ollama's embeddings")
        total = count_in(found.prompt_eval_count)
        return guard([row_of(row) for row in found.embeddings], call, total or None)

    def refuse(self, answer: Incoming, secrets: Sequence[str]) -> ProviderError:
        error = super().refuse(answer, secrets)
        message = clean(message_of(answer.body), secrets)
        return blamed(error, message, _BLAMES_INPUT)
