"""Reads the form of the playground."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from werkzeug.datastructures import FileStorage, MultiDict

from app.errors import BadRequest

MAX_TEXTS = 500
#: Bytes of the file, and of the whole form with it.
MAX_FILE_BYTES = 2**20
MAX_FORM_BYTES = MAX_FILE_BYTES + 64 * 1024
#: Seconds that the embedding of each side may take.
TIMEOUT_S = 30
_NUMBER = re.compile(r"[0-9]{1,18}")

EXAMPLE = """\
How do I reset my password?
I forgot my password
My password does not work any more
The invoice shows the wrong amount
Please send me the invoice again
How can I pay an invoice by card?
My parcel arrived damaged
Where is my parcel?
When will the parcel be delivered?"""


@dataclass(frozen=True, slots=True)
class Form:
    """What was filled in, as it was: nothing is checked yet."""

    model: str = ""
    other: str = ""  # the second model or deployment, if any
    texts: str = ""
    dimensions: str = ""
    input_type: str = ""
    user: str = ""
    caching: bool = False

    @property
    def lines(self) -> list[str]:
        """The texts: a line each, without empty ones."""
        # Not `splitlines`: it would also split at characters within a text, such as U+2028.
        lines = (line.rstrip("\r") for line in self.texts.split("\n"))
        return [line for line in lines if line.strip()]

    def checked_lines(self) -> list[str]:
        """Return the texts. Raises `BadRequest` if there is none, or too many."""
        lines = self.lines
        if not lines:
            raise BadRequest("There is no text: write one on a line of its own, or choose a file.")
        if len(lines) > MAX_TEXTS:
            raise BadRequest(f"At most {MAX_TEXTS} texts are embedded here, got {len(lines):,}.")
        return lines

    def fields(self) -> dict[str, Any]:
        """Return the further fields of the request, as the API takes them."""
        found: dict[str, Any] = {}
        if self.dimensions:
            # Anything but a number stays as it is: the API says what is wrong with it.
            is_number = _NUMBER.fullmatch(self.dimensions)
            found["dimensions"] = int(self.dimensions) if is_number else self.dimensions
        if self.input_type:
            found["input_type"] = self.input_type
        if self.user:
            found["user"] = self.user
        if self.caching:
            found["caching"] = True
        return found


def read_form(fields: MultiDict[str, str]) -> Form:
    """Return what was filled in."""
    return Form(
        model=fields.get("model", ""),
        other=fields.get("other", ""),
        texts=fields.get("texts", ""),
        dimensions=fields.get("dimensions", "").strip(),
        input_type=fields.get("input_type", ""),
        user=fields.get("user", "").strip(),
        caching="caching" in fields,
    )


def with_file(form: Form, file: FileStorage | None) -> Form:
    """Return the form with the texts of a file instead of its own. Raises `BadRequest`."""
    if file is None or not file.filename:
        return form
    content = file.stream.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise BadRequest(f"The file is larger than {MAX_FILE_BYTES:,} bytes.")
    try:
        return replace(form, texts=content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise BadRequest("The file is no text in UTF-8.") from error
