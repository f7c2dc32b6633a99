"""A good answer of each wire format."""

from app.config import ProviderSettings
from app.providers.kinds.vertex import Vertex
from tests.providers.contract import wire_of

_BEDROCK = {"kind": "bedrock", "region": "us-east-1", "api_key": "k"}


#: A wire format, a model, and its good answer to ``["a", "b"]`` (or ``["a"]``). All vectors are
#: ``[3, 4]``.
ROW = [3.0, 4.0]


BASE64 = "AABAQAAAgEA="


_DATA = [{"index": i, "embedding": ROW, "object": "embedding"} for i in range(2)]


_ENCODED = [{"index": i, "embedding": BASE64} for i in range(2)]


_USAGE = {"prompt_tokens": 5, "total_tokens": 5}


def vertex_wire():
    options = {"project": "p", "location": "global"}
    return Vertex(ProviderSettings("v", "vertex", options=options), lambda: "token")


GOLDEN = {
    "openai": (wire_of(kind="openai"), "m", {"data": _DATA, "usage": _USAGE}),
    "openai, base64": (wire_of(kind="openai"), "m", {"data": _ENCODED, "usage": _USAGE}),
    "voyage": (wire_of(kind="voyage"), "m", {"data": _ENCODED, "usage": {"total_tokens": 5}}),
    "cohere": (
        wire_of(kind="cohere"),
        "m",
        {
            "embeddings": {"float": [ROW, ROW]},
            "meta": {"billed_units": {"input_tokens": 5}},
        },
    ),
    "ollama": (wire_of(kind="ollama"), "m", {"embeddings": [ROW, ROW], "prompt_eval_count": 5}),
    "tei": (wire_of(kind="tei"), "m", [ROW, ROW]),
    "gemini": (
        wire_of(kind="gemini"),
        "m",
        {
            "embeddings": [{"values": ROW}, {"values": ROW}],
            "usageMetadata": {"promptTokenCount": 5},
        },
    ),
    "vertex": (
        vertex_wire(),
        "m",
        {
            "predictions": [
                {"embeddings": {"values": ROW, "statistics": {"token_count": n}}} for n in (2, 3)
            ]
        },
    ),
    "titan": (
        wire_of(**_BEDROCK),
        "amazon.titan-embed-text-v2:0",
        {"embedding": ROW, "inputTextTokenCount": 5},
    ),
    "bedrock, cohere": (
        wire_of(**_BEDROCK),
        "cohere.embed-english-v3",
        {"embeddings": {"float": [ROW, ROW]}},
    ),
    "nova": (
        wire_of(**_BEDROCK),
        "amazon.nova-2-multimodal-embeddings-v1:0",
        {"embeddings": [{"embedding": ROW, "embeddingType": "TEXT"}]},
    ),
}


ONE = {"titan", "nova"}
