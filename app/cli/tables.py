"""Formats tables for the terminal, and lists for machines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

json_option = click.option("--json", "as_json", is_flag=True, help="For machines: a JSON list.")


def print_rows(rows: Sequence[dict[str, Any]], as_json: bool, empty_text: str) -> None:
    """Print rows as a JSON list or as a table; `as_table` takes ``empty_text``."""
    text = as_table(rows, empty_text)
    click.echo(json.dumps(rows, indent=2, ensure_ascii=False) if as_json else text)


def as_table(rows: Sequence[dict[str, Any]], empty_text: str) -> str:
    """Return rows with a header, numbers aligned to the right; ``empty_text`` if there are none."""
    if not rows:
        return empty_text
    names = list(rows[0])
    cells = [names, *([cell(row[name]) for name in names] for row in rows)]
    return "\n".join(aligned(cells, [not isinstance(value, str) for value in rows[0].values()]))


def aligned(rows: Sequence[Sequence[str]], right: Sequence[bool] = ()) -> list[str]:
    """Return a line for each row, with columns of equal width, to the left unless ``right``."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    to_right = right or [False] * len(widths)
    return [
        "  ".join(
            text.rjust(width) if is_right else text.ljust(width)
            for text, width, is_right in zip(row, widths, to_right, strict=True)
        ).rstrip()
        for row in rows
    ]


def cell(value: Any) -> str:
    """Return the text of a value; a text without characters that control the terminal."""
    if isinstance(value, float):
        return f"{value:.9f}".rstrip("0").rstrip(".")
    text = "" if value is None else str(value)
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text) or "-"
