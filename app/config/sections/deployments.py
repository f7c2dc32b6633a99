"""``MODELS`` and their deployments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from marshmallow import ValidationError, fields, validate

from app.config import fields as own
from app.config.schema import Sections
from app.config.sections.declaration import (
    REQUIRED,
    count,
    flag,
    number,
    proportion,
    setting,
    text,
    whole,
)

#: The default of ``max_item_tokens``: the context of the model in `app.providers.contexts`, if any.
KNOWN_CONTEXT = 0


@dataclass(frozen=True, slots=True)
class DeploymentSettings:
    """A model at a provider: docs/dispatch.md says how one is chosen."""

    provider: str = text(REQUIRED, "a name in PROVIDERS", "Where it is.")
    model: str = text(REQUIRED, "a name", "The provider's name of the model.")
    weight: float = proportion("Its share of the calls, against the others of its tier.")
    tier: int = whole(0, 0, None, "0 is asked first, 1 where no deployment of tier 0 can serve.")
    max_inputs: int | None = count(None, "Inputs of one call.", shown="the provider's")
    max_tokens: int | None = count(None, "Tokens of one call.", shown="the provider's")
    max_item_tokens: int | None = setting(
        fields.Integer(strict=True, validate=validate.Range(min=1)),
        KNOWN_CONTEXT,
        "None or whole number from 1",
        "Tokens of one input; a longer one is a 400. None: no limit. A number needs the model's "
        "'tokenizer'.",
        none=True,
        shown="what is known of the model: docs/providers.md",
    )
    concurrency: int | None = count(
        None, "Calls at once, of all workers of a host.", shown="the provider's"
    )
    requests_per_minute: int | None = count(
        None, "Calls a minute, of all workers; of all hosts with LIMITS['url']."
    )
    tokens_per_minute: int | None = count(
        None, "Tokens a minute, of all workers; of all hosts with LIMITS['url']."
    )
    price_per_million_tokens: float = number(0.0, 0, 1e6, "Dollars; for budgets and reports.")


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """One of ``MODELS``. Every deployment of a model must serve the same vector space."""

    name: str
    deployments: tuple[DeploymentSettings, ...] = setting(
        Sections(
            DeploymentSettings,
            validate=validate.Length(min=1, error="must name at least one deployment"),
        ),
        REQUIRED,
        "a list of dictionaries",
        "Where it is served.",
    )
    dimensions: int | None = count(None, "Values of a vector; each answer is checked for it.")
    matryoshka: bool | tuple[int, ...] = setting(
        own.Matryoshka(),
        False,
        "True, False or a list of widths",
        "Whether the first values of a vector are a vector too, and which widths are allowed.",
    )
    passes: frozenset[str] = setting(
        own.Texts(),
        frozenset,
        "a list of names",
        "Fields of a request that its providers are sent as they come.",
        name="pass",
    )
    hedge: bool = flag(
        False, "Whether a slow call is sent to another deployment, too (DISPATCH: hedge_factor)."
    )
    tokenizer: str | None = setting(
        own.Tokenizer_(),
        None,
        "a tiktoken encoding or the path of a tokenizer.json",
        "With it the proxy counts tokens exactly.",
    )

    space: str = setting(
        fields.String(validate=own.space_id),
        "",
        "1 to 100 printable ASCII characters, no space, no comma",
        "The name of the vector space, which clients see and can insist on (x-proxy-space). Needed "
        "where deployments differ in what changes a vector. See docs/operations.md.",
        none=False,
        shown="derived from all that changes a vector",
    )

    def can_cut_to(self, width: int) -> bool:
        """Whether the proxy itself may shorten this model's vectors to ``width``."""
        if isinstance(self.matryoshka, tuple):
            return width in self.matryoshka
        return self.matryoshka and self.dimensions is not None and width <= self.dimensions

    @staticmethod
    def complete(data: dict[str, Any]) -> dict[str, Any]:
        """Check that vectors can be cut where they are said to be, and long inputs be counted."""
        if not data.get("tokenizer"):
            need = ["needs the 'tokenizer' of the model, which counts the tokens of an input"]
            deployments = enumerate(data.get("deployments", ()))
            wrong = {i: {"max_item_tokens": need} for i, d in deployments if d.max_item_tokens}
            if wrong:
                raise ValidationError({"deployments": wrong})
        widths, dimensions = data.get("matryoshka"), data.get("dimensions")
        if widths and not dimensions:
            raise ValidationError("must be set where 'matryoshka' is", "dimensions")
        if isinstance(widths, tuple) and max(widths) > data["dimensions"]:
            raise ValidationError(
                f"must not be over the 'dimensions' of {dimensions}", "matryoshka"
            )
        return data
