"""Tables that the operator's commands print for people."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any


def aligned(lines: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """Lines of cells whose columns line up; those at the indices ``right`` on the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def as_table(rows: Sequence[dict[str, Any]], nothing: str = "No requests in that time.") -> str:
    """Columns by the names of the first row; numbers on the right."""
    if not rows:
        return nothing
    names = list(rows[0])
    right = [i for i, name in enumerate(names) if not isinstance(rows[0][name], str)]
    return "\n".join(aligned([names, *([_cell(row[n]) for n in names] for row in rows)], right))


def _cell(value: Any) -> str:
    if isinstance(value, str):
        # What an end user is called must not speak to the terminal.
        shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in value)
        return shown or "-"
    return f"{value:.9f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
