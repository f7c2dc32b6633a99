"""The provider's vectors and their JSON, made once, so that an answer is one join."""

import binascii
import zlib
from functools import lru_cache

import numpy as np
import orjson

POOL = 64
"""How many different vectors there are; a text always gets the same one."""

TOKENS_PER_ITEM = 8


class Answers:
    """Embedding answers of one width, in OpenAI's format."""

    def __init__(self, width: int) -> None:
        rows = np.random.default_rng(width).standard_normal((POOL, width))
        self.vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype("<f4")
        self._fragments = {
            "base64": [b'"%s"' % binascii.b2a_base64(row, newline=False) for row in self.vectors],
            "float": [orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY) for row in self.vectors],
        }

    def vector(self, item: object) -> np.ndarray:
        """Return the vector of a text or of a list of token ids."""
        return self.vectors[_slot(item)]

    def body(self, items: list, encoding: str) -> bytes:
        """Return the JSON answer for ``items``; ``encoding`` is ``"base64"`` or ``"float"``."""
        fragments = self._fragments[encoding]
        data = b",".join(
            b'{"object":"embedding","index":%d,"embedding":%b}' % (i, fragments[_slot(item)])
            for i, item in enumerate(items)
        )
        tokens = TOKENS_PER_ITEM * len(items)
        return (
            b'{"object":"list","data":[%b],"model":"bench",'
            b'"usage":{"prompt_tokens":%d,"total_tokens":%d}}' % (data, tokens, tokens)
        )


@lru_cache(maxsize=4)
def answers(width: int) -> Answers:
    """Return the `Answers` of ``width``, shared in this process."""
    return Answers(width)


def request_items(payload: dict) -> list:
    """Return the items of a request: ``input`` is one text, or a list of texts or of ids."""
    given = payload["input"]
    one = isinstance(given, str) or isinstance(given[0], int)
    return [given] if one else given


def mismatch(body: bytes, items: list, width: int) -> str | None:
    """Return the error in an answer to ``items`` (count, order, width, any value), or None."""
    data = orjson.loads(body)["data"]
    if [entry["index"] for entry in data] != list(range(len(items))):
        return f"{len(data)} embeddings, or in the wrong order, for {len(items)} items"
    for entry, item in zip(data, items, strict=True):
        value = entry["embedding"]
        got = (
            np.frombuffer(binascii.a2b_base64(value), "<f4")
            if isinstance(value, str)
            else np.array(value, "<f4")
        )
        if not np.array_equal(got, answers(width).vector(item)):
            return f"item {entry['index']} is not the vector of its text"
    return None


def _slot(item: object) -> int:
    return zlib.crc32(orjson.dumps(item)) % POOL
