"""Kinds that are OpenAI's wire format with an accent: a table of what each does otherwise.

Each source is the provider's own reference, read in 2026. Where no limit is documented, a modest
one keeps merged calls small; ``max_inputs`` of a provider or deployment replaces it. What an
API does not list is not sent to it, because some refuse unknown fields.
"""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from app.config import ProviderSettings
from app.providers.dialect import Dialect, options
from app.providers.openai import OpenAI

_MODEST = 256

PRESETS: dict[str, Dialect] = {
    # docs.mistral.ai/api/endpoint/embeddings; extra fields are 422. No more than 16k tokens a call
    # in Mistral's own and LangChain's clients.
    "mistral": Dialect(
        base_url="https://api.mistral.ai/v1",
        max_inputs=256,
        max_tokens=16_000,
        dimensions_field="output_dimension",
        tokens=False,
        models={"mistral-embed*": {"dimensions": False}},  # codestral-embed takes it
    ),
    # api.jina.ai/openapi.json, read in November 2026: v4 takes 512 inputs, older models 2048. What
    # a model's schema does not have is a 422: v2 knows neither task nor dimensions.
    "jina": Dialect(
        base_url="https://api.jina.ai/v1",
        models={
            "jina-embeddings-v4": {"max_inputs": 512},
            "jina-embeddings-v2-*": {"dimensions": False},
            "jina-clip-v1": {"dimensions": False},
        },
        model_hints={
            "jina-embeddings-v2-*": {},
            "jina-clip-v1": {},
            "jina-clip-v2": {"query": {"task": "retrieval.query"}},  # "leave unset for documents"
            "jina-code-embeddings-*": {
                "query": {"task": "nl2code.query"},
                "document": {"task": "nl2code.passage"},
            },
        },
        encoding_field="embedding_type",
        tokens=False,
        hints={
            "query": {"task": "retrieval.query"},
            "document": {"task": "retrieval.passage"},
        },
    ),
    # docs.together.ai/reference/embeddings: model and input, nothing else.
    "together": Dialect(
        base_url="https://api.together.xyz/v1",
        max_inputs=_MODEST,
        encodings=("omit",),
        dimensions_field=None,
        tokens=False,
    ),
    # docs.databricks.com/…/foundation-model-apis/api-reference, "Embedding request".
    "databricks": Dialect(
        path="/{model}/invocations",
        max_inputs=150,
        encodings=("omit",),
        dimensions_field=None,
        tokens=False,
    ),
    # help.aliyun.com/en/model-studio/embedding-interfaces-compatible-with-openai, read in November
    # 2026: "only float"; v1 and v2 take 25 inputs and no dimensions. A key of the international
    # site needs base_url https://dashscope-intl.aliyuncs.com/compatible-mode/v1.
    "dashscope": Dialect(
        base_url="https://dashscope.aliyuncs.com/compatible-mode/v1",
        max_inputs=10,
        models={"text-embedding-v[12]": {"max_inputs": 25, "dimensions": False}},
        encodings=("float",),
        tokens=False,
        quota_is_money=False,  # its insufficient_quota is this minute's tokens
    ),
    # docs.nvidia.com/nim/nemo-retriever: its retrieval models refuse a call without input_type;
    # too long a text is an error there by default. 50 is its own client's batch.
    "nvidia": Dialect(
        base_url="https://integrate.api.nvidia.com/v1",
        max_inputs=50,
        tokens=False,
        user=True,
        hints={
            None: {"input_type": "passage"},
            "query": {"input_type": "query"},
            "document": {"input_type": "passage"},
        },
    ),
    # docs.vllm.ai, "Embeddings API": as OpenAI, and no limit but the model's context.
    "vllm": Dialect(base_url="http://127.0.0.1:8000/v1", max_inputs=None, user=True),
    # michaelfeil.eu/infinity; INFINITY_MAX_CLIENT_BATCH_SIZE is 2048 unless set. It cuts vectors to
    # `dimensions` without scaling them back to length 1 (seen with 0.0.78), so the proxy does it.
    "infinity": Dialect(
        base_url="http://127.0.0.1:7997", tokens=False, user=True, dimensions_field=None
    ),
    # docs.github.com/rest/models/embeddings; 64,000 tokens a request in every tier.
    "github": Dialect(
        base_url="https://models.github.ai/inference", max_tokens=64_000, tokens=False, user=True
    ),
    # github.com/ggml-org/llama.cpp, tools/server/README.md, and as its server 0.10434 was seen to
    # do: other fields are ignored, `dimensions` among them; a text over its physical batch
    # (--ubatch-size, 512 tokens unless set) is a 500, one over the context (--ctx-size) a 400.
    "llamacpp": Dialect(
        base_url="http://127.0.0.1:8080/v1",
        max_inputs=_MODEST,
        dimensions_field=None,
        blames_input=("too large to process",),
    ),
    # localai.io/features/embeddings: other fields are ignored, `dimensions` among them.
    "localai": Dialect(
        base_url="http://127.0.0.1:8080/v1", max_inputs=_MODEST, dimensions_field=None
    ),
    # docs.deepinfra.com/api-reference/openai-embeddings
    "deepinfra": Dialect(
        base_url="https://api.deepinfra.com/v1/openai", max_inputs=1024, tokens=False
    ),
    # docs.fireworks.ai/api-reference (its schema forbids other fields, encoding_format too).
    "fireworks": Dialect(
        base_url="https://api.fireworks.ai/inference/v1", encodings=("omit",), tokens=False
    ),
}


def options_of(kind: str) -> dict[str, fields.Field[Any]]:
    """The settings only that preset knows."""
    return options(PRESETS[kind])


def make(settings: ProviderSettings) -> OpenAI:
    return OpenAI(settings, PRESETS[settings.kind])
