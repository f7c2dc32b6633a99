"""Base of the fake providers; the format of each is in its own module."""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.upstream import Exchange, Upstream
from tests.support.vectors import Item, Vector, count_tokens, vector

Rows = list[Vector]


@dataclass(frozen=True)
class Asked:
    """A valid request without its format. ``salt``: other values that change a vector."""

    items: list[Item]
    width: int
    salt: str = ""
    encoding: str = "float"


class Refused(Exception):
    """The fake refuses a request, in its provider's format."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers or {}


@dataclass
class Behaviour:
    """How the fake behaves; by default it answers well."""

    shuffled: bool = False  # answers out of order, if the format has indexes
    counts: bool = True  # answers have token counts
    spoil: Callable[[Rows], Rows] = field(default=lambda rows: rows)
    raw: bytes | None = None  # answers this with 200
    refusal: Refused | None = None  # answers this


class Fake(Upstream):
    """A provider: a context manager. Subclasses implement the four methods that raise here."""

    limit: int | None = None  # inputs of one call
    indexed = False  # its answers have indexes
    counts = True  # its answers have token counts

    def __init__(self, width: int = 8) -> None:
        super().__init__(width)
        self.behaviour = Behaviour()
        self.always(self._respond)

    def authorized(self, headers: Mapping[str, str]) -> bool:
        return headers.get("authorization") == f"Bearer {self.api_key}"

    def ask(self, path: str, body: dict[str, Any]) -> Asked:
        """Read the request; raise `Refused` where the provider would refuse it."""
        raise NotImplementedError

    def answer_to(self, asked: Asked, rows: list[tuple[int, Vector]], tokens: int | None) -> Any:
        """Return the body of an answer, in the given order; ``tokens`` None: without counts."""
        raise NotImplementedError

    def error(self, status: int, message: str) -> Any:
        """Return the body of an error."""
        raise NotImplementedError

    def headers_of(self, tokens: int | None) -> dict[str, str]:
        """Return headers of the answer."""
        return {}

    @property
    def address(self) -> str:
        """The ``base_url`` for settings."""
        return f"http://127.0.0.1:{self.port}"

    def _respond(self, exchange: Exchange) -> None:
        behaviour = self.behaviour
        try:
            if behaviour.refusal:
                raise behaviour.refusal
            if not self.authorized(exchange.call.headers):
                raise Refused(401, f"Incorrect API key provided: {self.api_key}.")
            asked = self._asked(exchange)
        except Refused as refused:
            body = self.error(refused.status, refused.message)
            exchange.reply(refused.status, body, **refused.headers)
            return
        if behaviour.raw is not None:
            exchange.reply(200, behaviour.raw)
            return
        rows = behaviour.spoil([vector(item, asked.width, asked.salt) for item in asked.items])
        numbered = list(enumerate(rows))
        if behaviour.shuffled:
            numbered = numbered[1::2][::-1] + numbered[::2]
        tokens = sum(map(count_tokens, asked.items)) if behaviour.counts else None
        answer = self.answer_to(asked, numbered, tokens)
        exchange.reply(200, answer, **self.headers_of(tokens))

    def _asked(self, exchange: Exchange) -> Asked:
        body = exchange.call.body
        if "null" in json.dumps(body).replace('"null"', ""):
            raise Refused(422, "a null was sent")
        asked = self.ask(exchange.call.path, body)
        if self.limit is not None and len(asked.items) > self.limit:
            raise Refused(400, f"Too many inputs: {len(asked.items)} > {self.limit}")
        return asked


def only(body: Mapping[str, Any], required: Collection[str], others: Collection[str]) -> None:
    """Refuse a body with a missing or an unknown field."""
    for name in required:
        if name not in body:
            raise Refused(422, f"Field required: {name}")
    for name in body:
        if name not in required and name not in others:
            raise Refused(422, f"Extra inputs are not permitted: {name}")


def one_of(body: Mapping[str, Any], name: str, values: Collection[Any]) -> Any:
    """Return a field, which must be absent or one of these values."""
    value = body.get(name)
    if name in body and value not in values:
        raise Refused(400, f"Invalid value for '{name}' = {value}. Supported values: {values}.")
    return value


def items_of(value: Any, tokens: bool) -> list[Item]:
    """Return a list of texts, or of token lists if ``tokens``; refuse anything else."""
    if not isinstance(value, list) or not value:
        raise Refused(422, "Input should be a list")
    for item in value:
        if isinstance(item, str) and item:
            continue
        ids = isinstance(item, list) and item and all(isinstance(i, int) for i in item)
        if not (tokens and ids):
            raise Refused(422, "Input should be a valid string")
    return value


def width_of(body: Mapping[str, Any], name: str | None, width: int) -> int:
    """Return the requested width, at most the model's."""
    wanted = body.get(name, width) if name else width
    if not isinstance(wanted, int) or not 1 <= wanted <= width:
        raise Refused(400, f"Invalid value for '{name}' = {wanted}.")
    return wanted
