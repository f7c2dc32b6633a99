"""The vectors as a file, JSON or CSV.

The page itself holds them, in a form, as the server keeps nothing: a file has the very vectors that
the page shows, from any worker, and costs no second embedding.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from typing import Any

import orjson
import pybase64
from flask import Response

from app.errors import BadRequest
from app.vectors import BYTES_PER_VALUE, to_json

#: Bytes of the vectors that a page holds; more would make it slow to load.
MAX_VECTOR_BYTES = 4 * 2**20
#: Bytes of the form that sends them: in base64, and with the texts.
MAX_DOWNLOAD_BYTES = 12 * 2**20
_TYPES = {"json": "application/json", "csv": "text/csv; charset=utf-8"}
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def packed(name: str, space: str, texts: Sequence[str], rows: Sequence[bytes]) -> str | None:
    """Return the vectors as the page holds them; None where they are too many."""
    if sum(map(len, rows)) > MAX_VECTOR_BYTES:
        return None
    vectors = pybase64.urlsafe_b64encode(b"".join(rows)).decode()
    value = {"model": name, "space": space, "texts": list(texts), "vectors": vectors}
    return orjson.dumps(value).decode()


def file_of(kind: str, value: str) -> Response:
    """Return the file of what `packed` returned. Raises `BadRequest`."""
    if kind not in _TYPES:
        raise BadRequest("The file is JSON or CSV.")
    try:
        given = orjson.loads(value)
        name, texts = str(given["model"]), [str(text) for text in given["texts"]]
        joined = pybase64.urlsafe_b64decode(given["vectors"])
        size, rest = divmod(len(joined), len(texts) * BYTES_PER_VALUE)
        if rest or not size:
            raise ValueError("not a vector of one width for each text")
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise BadRequest("The vectors cannot be read. Embed the texts again.") from error
    size *= BYTES_PER_VALUE
    rows = [joined[start : start + size] for start in range(0, len(joined), size)]
    content = _json(given, texts, rows) if kind == "json" else _csv(texts, rows)
    response = Response(content, content_type=_TYPES[kind])
    filename = f"embeddings-{_UNSAFE.sub('-', name).strip('-.')[:80] or 'model'}.{kind}"
    response.headers["Content-Disposition"] = f'attachment; filename="{filename}"'
    return response


def _json(given: dict[str, Any], texts: Sequence[str], rows: Sequence[bytes]) -> bytes:
    """Return an object with the model, its space, and each text with its vector."""
    data = [
        {"index": i, "text": text, "embedding": orjson.Fragment(to_json(row))}
        for i, (text, row) in enumerate(zip(texts, rows, strict=True))
    ]
    head = {"model": str(given["model"]), "space": str(given.get("space", ""))}
    return orjson.dumps({**head, "data": data})


def _csv(texts: Sequence[str], rows: Sequence[bytes]) -> bytes:
    """Return a line for each text: its index, the text, and a column for each value."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["index", "text", *range(len(rows[0]) // BYTES_PER_VALUE)])
    for i, (text, row) in enumerate(zip(texts, rows, strict=True)):
        writer.writerow([i, text, *to_json(row).decode()[1:-1].split(",")])
    return out.getvalue().encode()
