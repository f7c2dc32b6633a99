"""How far vectors of one model are apart when it runs otherwise: in halves, quantised, cut short.

``python -m bench.cosines`` embeds 300 texts with wordllama as it is, and again with what another
engine or another machine may do to the same model, and prints the cosines between both as the table
of docs/reliability.md. No network; some seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import wordllama

from tests.engines.texts import varied

WIDTHS = (64, 128, 256)
Matrix = np.ndarray[Any, np.dtype[np.float32]]


def bfloat16(values: Matrix) -> Matrix:
    """Round to bfloat16: the upper 16 bits of a float32."""
    bits = np.ascontiguousarray(values, "<f4").view("<u4")
    return ((bits + 0x8000) & np.uint32(0xFFFF0000)).view("<f4")


def integers(bits: int) -> Callable[[Matrix], Matrix]:
    """Return a function that rounds each row to signed integers of so many bits, and back."""
    largest = 2 ** (bits - 1) - 1

    def quantise(values: Matrix) -> Matrix:
        scale = np.abs(values).max(axis=1, keepdims=True) / largest
        return np.round(values / scale) * scale

    return quantise


def float16(values: Matrix) -> Matrix:
    return values.astype("<f2").astype("<f4")


def signs(values: Matrix) -> Matrix:
    return np.where(values < 0, -1.0, 1.0).astype("<f4")


#: What another engine may do to the weights (which are float16 in wordllama already), or to the
#: vectors that it answers.
WEIGHTS = {
    "weights in bfloat16": bfloat16,
    "weights in 8 bits, a scale a row": integers(8),
    "weights in 4 bits, a scale a row": integers(4),
}
VECTORS = {
    "vectors answered in float16": float16,
    "vectors answered in int8": integers(8),
    "vectors answered as signs (binary)": signs,
}
#: What a caller may do to a text: no perturbation of the engine should come near these.
TEXTS: dict[str, Callable[[str], str]] = {
    "one letter more": lambda text: text + "s",
    "in capitals": str.upper,
    "without its last quarter": lambda text: text[: max(1, len(text) * 3 // 4)],
    "without its second half": lambda text: text[: max(1, len(text) // 2)],
}


class Model:
    """wordllama's table, and the mean of its rows for the tokens of a text."""

    def __init__(self) -> None:
        made = wordllama.WordLlama.load(
            cache_dir=Path(wordllama.__file__).parent, disable_download=True
        )
        made.tokenizer.no_padding()
        self._tokenizer = made.tokenizer
        self.table = np.asarray(made.embedding, dtype="<f4")

    def embed(self, texts: Sequence[str], table: Matrix, single: bool = False) -> Matrix:
        """Return a row a text, added up in float64; or one after the other in float32."""
        encoded = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        if single:
            return np.array([np.add.accumulate(table[e.ids][::-1])[-1] for e in encoded], "<f4")
        return np.array([table[e.ids].sum(axis=0, dtype=np.float64) for e in encoded], "<f4")


def cosines(a: Matrix, b: Matrix) -> Matrix:
    """Return the cosine of each row of ``a`` with its row of ``b``."""
    wide = a.astype(np.float64), b.astype(np.float64)
    dots = (wide[0] * wide[1]).sum(axis=1)
    found: Matrix = dots / np.linalg.norm(wide[0], axis=1) / np.linalg.norm(wide[1], axis=1)
    return found


def rows(model: Model, texts: Sequence[str]) -> dict[str, dict[int, Matrix]]:
    """Return the cosines to the true vectors, by what was changed and by width."""
    truth = model.embed(texts, model.table)
    changed = {"added up in float32, in another order": model.embed(texts, model.table, True)}
    for name, rounding in WEIGHTS.items():
        changed[name] = model.embed(texts, rounding(model.table))
    found = {
        name: {width: cosines(truth[:, :width], other[:, :width]) for width in WIDTHS}
        for name, other in changed.items()
    }
    for name, rounding in VECTORS.items():
        cut = {width: truth[:, :width] for width in WIDTHS}
        unit = {w: m / np.linalg.norm(m, axis=1, keepdims=True) for w, m in cut.items()}
        found[name] = {width: cosines(cut[width], rounding(unit[width])) for width in WIDTHS}
    for name, change in TEXTS.items():
        other = model.embed([change(text) for text in texts], model.table)
        found[name] = {width: cosines(truth[:, :width], other[:, :width]) for width in WIDTHS}
    return found


def main() -> None:
    print("| changed | " + " | ".join(f"{w} wide: lowest, median" for w in WIDTHS) + " |")
    print("|---" * (len(WIDTHS) + 1) + "|")
    for name, by_width in rows(Model(), varied()).items():
        cells = [f"{found.min():.6f}, {np.median(found):.6f}" for found in by_width.values()]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
