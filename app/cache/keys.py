"""Cache keys: a digest of all that changes the vector of an item. Pure functions.

In the key: the vector space of the model, the width of the vectors, the input type, the passed-on
fields, the exact bytes of the item and whether they are text or token ids. For token ids also the
tokenizer, where a provider takes only the text that they decode to. Not in it: the model's name, so
that models of one space share entries, and a name that leads to another model gets none of the old
one; the encoding and the end user, which change no vector.
"""

from __future__ import annotations

import json
import struct
from array import array
from hashlib import blake2b

from app.domain import EmbeddingRequest, Item

#: Bytes of a digest: at 2^64 entries the odds of one collision are still below 2^-32.
DIGEST_BYTES = 20
#: Changes whenever the meaning of a key or of its value does.
_VERSION = b"embeddings-proxy:2"


def keys_of(
    request: EmbeddingRequest,
    space: str,
    owner: str = "",
    width: int | None = None,
    tokenizer: str = "",
) -> list[bytes]:
    """Return a key for each item, in order. ``owner`` separates callers that must not share.

    ``width``: the dimensions that the model has by itself, None where the settings do not tell.
    ``tokenizer``: the fingerprint of the tokenizer that may decode token ids to text.
    """
    prefix = blake2b(_VERSION, digest_size=DIGEST_BYTES)
    for part in (
        owner,
        space,
        str(request.dimensions or width or ""),
        request.input_type or "",
        json.dumps(dict(request.passed), sort_keys=True),
    ):
        # The length in front keeps ("ab", "c") apart from ("a", "bc").
        prefix.update(_with_length(part))
    # "D" changes whenever the same ids are decoded to another text; it was "T".
    ids_prefix = b"D" + _with_length(tokenizer) if tokenizer else b"t"
    keys = []
    for item in request.items:
        digest = prefix.copy()
        digest.update(_bytes_of(item, ids_prefix))
        keys.append(digest.digest())
    return keys


def _with_length(part: str) -> bytes:
    encoded = part.encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(encoded)) + encoded


def _bytes_of(item: Item, ids_prefix: bytes) -> bytes:
    if isinstance(item, str):
        return b"s" + item.encode()
    return ids_prefix + array("Q", item).tobytes()
