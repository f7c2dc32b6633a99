"""A refusal for the size of a call is recognized by its message."""

import json

import pytest

from app.errors import Rejected
from app.providers.base import Incoming
from app.providers.refusals import names_size
from tests.providers.contract import wire_of

#: Messages as providers and engines were reported to write them (issues of their clients, 2024 to
#: 2026); numbers are examples.
SIZES = [
    # OpenAI, Azure
    "Requested 416735 tokens, max 300000 tokens per request",
    "This model's maximum context length is 8192 tokens, however you requested 9000 tokens.",
    "Invalid 'input': maximum context length is 8192 tokens.",
    "Invalid 'input': array too long. Expected an array with maximum length 2048.",
    "Too many inputs. The max number of inputs is 16.",
    # GitHub Models
    "Request body too large for text-embedding-3-small model. Max size: 64000 tokens.",
    # Mistral
    "Too many inputs in request, split into more batches.",
    "Too many tokens in batch. Max is 16384 got 17555",
    "Too many tokens overall, split into more batches.",
    # Voyage
    "The max allowed tokens per submitted batch is 120000. Your batch has 121138 tokens after "
    "truncation. Please lower the number of tokens in the batch.",
    "The batch size limit is 1000. Your batch size is 1024.",
    "The example at index 0 in your batch has too many tokens and does not fit into the model's "
    "context window of 32000 tokens.",
    # Cohere
    "invalid request: total number of texts must be at most 96 - received 131",
    "too many tokens: total number of tokens cannot exceed 2048 - received 6354.",
    # Gemini, Vertex AI
    "* BatchEmbedContentsRequest.requests: at most 100 requests can be in one batch",
    "Request payload size exceeds the limit: 36000 bytes.",
    "5 instance(s) is allowed per prediction. Actual: 6",
    "Unable to submit request because the input token count is 25000 but the model supports up to "
    "20000. Reduce the input token count and try again.",
    # Bedrock
    "400 Bad Request: Too many input tokens. Max input tokens: 8192, request input token count: 9",
    "Malformed input request: #/texts/0: expected maxLength: 2048, actual: 19882",
    "Malformed input request: #/texts: expected maximum item count: 96, found: 97",
    # Jina, DeepInfra, Together
    "input length is larger than the largest allowed size 2048",
    "inputs must have at most 1024 items",
    "Input text exceeds the maximum length of 8192 tokens.",
    # DashScope, SiliconFlow
    "Value error, batch size is invalid, it should not be larger than 10.: input.contents",
    "Range of input length should be [1, 8192]",
    "input batch size 136 > maximum allowed batch size 64",
    # Databricks, NVIDIA
    "Input embeddings size is too large, exceeding 150 limit for databricks-gte-large-en",
    "Input length 548 exceeds maximum allowed token size 512",
    # Text Embeddings Inference, Infinity, vLLM, Ollama, llama.cpp
    "batch size 64 > maximum allowed batch size 32",
    "Input validation error: `inputs` must have less than 512 tokens. Given: 534",
    "List should have at most 2048 items after validation, not 2049",
    "Input length (600) exceeds model's maximum context length (512).",
    "the input length exceeds the context length",
    "input (979 tokens) is too large to process. increase the physical batch size",
    "the request exceeds the available context size",
    # Gateways
    "Payload Too Large",
    "413 Request Entity Too Large",
]
OTHERS = [
    "",
    "'$.input' is invalid. Please check the API reference.",
    "Invalid value for 'encoding_format' = md5. Supported values: ['float', 'base64'].",
    "Invalid value for 'dimensions' = 5000: it exceeds the maximum of 3072.",
    "Invalid 'user': string too long. Expected a string with maximum length 64.",
    "The model `x` does not support specifying dimensions.",
    "Too many requests of this kind are not valid.",
    "Input should be a valid string",
    "an empty text was given",
]


@pytest.mark.parametrize("message", SIZES)
def test_message_about_a_size_is_recognized(message):
    assert names_size(message)
    for status in (400, 422):
        error = wire_of(kind="openai").refuse(answer(status, message), [])
        assert isinstance(error, Rejected)
        assert error.too_large


@pytest.mark.parametrize("message", OTHERS)
def test_other_message_is_not_about_a_size(message):
    assert not names_size(message)
    error = wire_of(kind="openai").refuse(answer(400, message), [])
    assert isinstance(error, Rejected)
    assert not error.too_large


@pytest.mark.parametrize("body", [b"", b"<html>413 Request Entity Too Large</html>", b"{}"])
def test_413_is_about_a_size(body):
    """nginx and other gateways refuse a body that is too large in HTML."""
    for kind in ("openai", "cohere", "gemini", "ollama", "tei"):
        error = wire_of(kind=kind).refuse(Incoming(413, {}, body), [])
        assert isinstance(error, Rejected)
        assert error.too_large
        assert error.message == "The provider refused the request as too large."


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("llamacpp", "input is too large to process. increase the physical batch size"),
        ("ollama", "the input length exceeds the context length"),
    ],
)
def test_500_about_the_size_of_an_input_is_recognized(kind, message):
    error = wire_of(kind=kind).refuse(answer(500, message), [])
    assert isinstance(error, Rejected)
    assert error.too_large


def answer(status, message):
    return Incoming(status, {}, json.dumps({"error": {"message": message}}).encode())
