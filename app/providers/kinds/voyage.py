"""Voyage AI: OpenAI's answers, its own names in the request.

Source: docs.voyageai.com/reference/embeddings-api, read on 2026-11-29. ``encoding_format`` is left
out or base64; "float" is refused. Its default cuts long texts silently; ours is an error.
Vectors are float32 (``output_dtype`` left out): nothing else can be told apart from a vector of
another width.
"""

from __future__ import annotations

from dataclasses import replace

from app.config import ProviderSettings
from app.config.fields import boolean
from app.providers.base import LongText
from app.providers.dialect import Dialect, options
from app.providers.kinds.openai import OpenAI
from app.providers.options import Option, changes_vector

VOYAGE = Dialect(
    long_text=LongText.TOLD_NOT_TO_CUT,
    base_url="https://api.voyageai.com/v1",
    max_inputs=1000,
    max_tokens=120_000,
    models={
        "voyage-*-lite": {"max_tokens": 1_000_000},
        "voyage-[0-9]": {"max_tokens": 320_000},
        "voyage-3.5": {"max_tokens": 320_000},
    },
    encodings=("base64", "omit"),
    dimensions_field="output_dimension",
    tokens=False,
    hints={"query": {"input_type": "query"}, "document": {"input_type": "document"}},
)
OPTIONS = {**options(VOYAGE), "truncation": Option(boolean(), changes_vector(False))}


def make(settings: ProviderSettings) -> OpenAI:
    cuts = settings.options.get("truncation", False)
    long_text = LongText.chosen(cuts)
    return OpenAI(settings, replace(VOYAGE, always={"truncation": cuts}, long_text=long_text))
