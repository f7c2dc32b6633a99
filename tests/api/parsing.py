"""Parses the JSON of a request, or returns why it is refused."""

import pytest

from app.api.schemas import EmbeddingSchema
from app.errors import BadRequest

schema = EmbeddingSchema(5)


def parse(**fields):
    return schema.parse({"model": "m", "input": "x", **fields})[0]


def refusal(**fields):
    """Return message and parameter of the error."""
    with pytest.raises(BadRequest) as caught:
        parse(**fields)
    return caught.value.message, caught.value.param


TYPES = {
    "model": "a string",
    "encoding_format": "a string",
    "dimensions": "an integer",
    "user": "a string",
    "input_type": "a string",
    "timeout": "an integer",
    "caching": "a boolean",
    "service_tier": "a string",
}
