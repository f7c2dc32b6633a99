"""Broken answers in any format: bodies, and changes of the vectors in a body."""

import numpy as np

GARBAGE = [
    b"",
    b"null",
    b"{}",
    b"[]",
    b"<html><body>Welcome</body></html>",
    b'{"data": [',
    b'{"error": {"message": "overloaded"}}',
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"data": null, "embeddings": null, "predictions": null, "embedding": null}',
]
SPOILED = {
    "one too few": lambda rows: rows[:-1],
    "one too many": lambda rows: [*rows, rows[0]],
    "none": lambda rows: [],
    "NaN": lambda rows: [*rows[:-1], np.full_like(rows[-1], np.nan)],
    "infinity": lambda rows: [*rows[:-1], np.full_like(rows[-1], np.inf)],
    "nothing but zeros": lambda rows: [*rows[:-1], np.zeros_like(rows[-1])],
    "one too wide": lambda rows: [*rows[:-1], np.append(rows[-1], rows[-1][:1])],
    "all too narrow": lambda rows: [row[:-1] for row in rows],
}
