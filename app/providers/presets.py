"""Kinds that speak OpenAI's wire format: a table of what each does otherwise.

Each source is the provider's own reference or, of an engine, its source code; with the day on
which it was read, and what it says of a text that is too long. Where no limit is documented, a
modest one keeps merged calls small; ``max_inputs`` of a provider or deployment replaces it. What
an API does not list is not sent to it, because some refuse what they do not know.
"""

from __future__ import annotations

from app.config import ProviderSettings
from app.providers.base import LongText
from app.providers.dialect import Dialect, options
from app.providers.kinds.openai import OpenAI
from app.providers.options import Option

_MODEST = 256

PRESETS: dict[str, Dialect] = {
    # docs.mistral.ai/api/endpoint/embeddings, and its openapi.yaml of August 2026 (2026-11-29):
    # extra fields are 422. "Too many tokens in batch. Max is 16384"; one text over 8192 tokens is
    # an error (langchain-ai/langchain#20523).
    "mistral": Dialect(
        long_text=LongText.ERROR_THERE,
        base_url="https://api.mistral.ai/v1",
        max_inputs=256,
        max_tokens=16_000,
        dimensions_field="output_dimension",
        tokens=False,
        models={"mistral-embed*": {"dimensions": False}},  # codestral-embed takes it
    ),
    # api.jina.ai/openapi.json: v4 takes 512 inputs, older models 2048 (read in November 2026). In
    # that of June 2026 (2026-11-29): what a model's schema does not have is a 422, v2 knows neither
    # task nor dimensions, and `truncate` is false unless sent: an error instead of a cut.
    "jina": Dialect(
        long_text=LongText.ERROR_THERE,
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
    # docs.together.ai/reference/embeddings, and openapi.yaml of
    # github.com/togethercomputer/openapi of April 2026 (2026-11-29): model and input, nothing
    # else. Of long texts it says nothing.
    "together": Dialect(
        long_text=LongText.NOT_KNOWN,
        base_url="https://api.together.xyz/v1",
        max_inputs=_MODEST,
        encodings=("omit",),
        dimensions_field=None,
        tokens=False,
    ),
    # docs.databricks.com/…/foundation-model-apis/api-reference, "Embedding request" (2026-11-29).
    # The models' "embedding window" is named (…/supported-models), but not what becomes of a
    # longer text.
    "databricks": Dialect(
        long_text=LongText.NOT_KNOWN,
        path="/{model}/invocations",
        max_inputs=150,
        encodings=("omit",),
        dimensions_field=None,
        tokens=False,
    ),
    # help.aliyun.com/en/model-studio/embedding-interfaces-compatible-with-openai (2026-11-29):
    # "only float"; v1 and v2 take 25 inputs and no dimensions. A key of the international site
    # needs base_url https://dashscope-intl.aliyuncs.com/compatible-mode/v1. Too long a text is a
    # 400: "Range of input length should be [1, 2048]", of v2 (labring/FastGPT#1912).
    "dashscope": Dialect(
        long_text=LongText.ERROR_THERE,
        base_url="https://dashscope.aliyuncs.com/compatible-mode/v1",
        max_inputs=10,
        models={"text-embedding-v[12]": {"max_inputs": 25, "dimensions": False}},
        encodings=("float",),
        tokens=False,
        quota_is_money=False,  # its insufficient_quota is this minute's tokens
    ),
    # docs.nvidia.com/nim/nemo-retriever/text-embedding/latest/reference.html and
    # reference-grpc.html (2026-11-29): its retrieval models refuse a call without input_type;
    # `truncate` is "NONE" unless sent: an error. 50 is its own client's batch.
    "nvidia": Dialect(
        long_text=LongText.ERROR_THERE,
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
    # docs.vllm.ai, "Embeddings API": as OpenAI, and no limit but the model's context, over which
    # a text is a 400 ("This model's maximum context length is …": vllm/entrypoints/renderer.py,
    # 2026-11-29).
    "vllm": Dialect(
        long_text=LongText.ERROR_THERE,
        base_url="http://127.0.0.1:8000/v1",
        max_inputs=None,
        user=True,
    ),
    # michaelfeil.eu/infinity, and the source code of its last version, of October 2025
    # (2026-11-29): INFINITY_MAX_CLIENT_BATCH_SIZE is 2048 unless set; transformer/embedder/ cuts
    # every long text. It cuts vectors to `dimensions` without scaling them back to length 1 (seen
    # with 0.0.78), so the proxy does it.
    "infinity": Dialect(
        long_text=LongText.CUT_SILENTLY,
        base_url="http://127.0.0.1:7997",
        tokens=False,
        user=True,
        dimensions_field=None,
    ),
    # docs.github.com/rest/models/embeddings (2026-11-29): "Each input must not exceed the max
    # input tokens for the model", which are OpenAI's. 64,000 tokens a request in every tier.
    "github": Dialect(
        long_text=LongText.ERROR_THERE,
        base_url="https://models.github.ai/inference",
        max_tokens=64_000,
        tokens=False,
        user=True,
    ),
    # github.com/ggml-org/llama.cpp, tools/server/README.md and server-context.cpp (2026-11-29), and
    # as its server 0.10434 was seen to do: other fields are ignored, `dimensions` among them; a
    # text over its physical batch (--ubatch-size, 512 tokens unless set) is a 500, one over the
    # context (--ctx-size) a 400.
    "llamacpp": Dialect(
        long_text=LongText.ERROR_THERE,
        base_url="http://127.0.0.1:8080/v1",
        max_inputs=_MODEST,
        dimensions_field=None,
        blames_input=("too large to process",),
    ),
    # localai.io/features/embeddings, and its source code of August 2026 (2026-11-29): other fields
    # are ignored, `dimensions` among them. Its llama-cpp backend refuses a long text as llama.cpp
    # does, always with a 500; its transformers backend cuts it (backend/python/transformers/
    # backend.py: at 512 tokens unless configured).
    "localai": Dialect(
        long_text=LongText.CUT_SILENTLY,
        base_url="http://127.0.0.1:8080/v1",
        max_inputs=_MODEST,
        dimensions_field=None,
        blames_input=("too large to process", "larger than the max context size"),
    ),
    # docs.deepinfra.com/api-reference/openai-embeddings, and its openapi.json of May 2026, which
    # says nothing of long texts; the page of a model does: "any longer text will be silently
    # truncated" (deepinfra.ai/intfloat/multilingual-e5-large-instruct/api). All on 2026-11-29.
    "deepinfra": Dialect(
        long_text=LongText.CUT_SILENTLY,
        base_url="https://api.deepinfra.com/v1/openai",
        max_inputs=1024,
        tokens=False,
    ),
    # docs.fireworks.ai/api-reference/creates-an-embedding-vector-representing-the-input-text
    # (2026-11-29): its schema forbids other fields, encoding_format too. An input "must not
    # exceed the max input tokens for the model", but not what becomes of one that does.
    "fireworks": Dialect(
        long_text=LongText.NOT_KNOWN,
        base_url="https://api.fireworks.ai/inference/v1",
        encodings=("omit",),
        tokens=False,
    ),
}


def options_of(kind: str) -> dict[str, Option]:
    """The settings only that preset knows."""
    return options(PRESETS[kind])


def make(settings: ProviderSettings) -> OpenAI:
    return OpenAI(settings, PRESETS[settings.kind])
