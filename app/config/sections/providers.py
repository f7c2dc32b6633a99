"""``PROVIDERS``: what every kind of provider has, and what its kind adds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from marshmallow import EXCLUDE, ValidationError, fields, validate

from app.config import addresses
from app.config import fields as own
from app.config.messages import needs_package, unknown
from app.config.schema import Strict, fields_of, schema_of
from app.config.sections.declaration import REQUIRED, address, count, flag, seconds, setting, text


@dataclass(frozen=True, slots=True)
class AutoConcurrency:
    """Calls at once that are found out (`app.dispatch.queue.adaptive`), of all workers together."""

    least: int = 1
    most: int = 256


class Concurrency(fields.Field[Any]):
    """Calls at once: a number, ``"auto"``, or ``{"auto": [least, most]}``."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> int | AutoConcurrency:
        if value == "auto":
            return AutoConcurrency()
        if isinstance(value, Mapping) and value.keys() == {"auto"}:
            bounds = value["auto"]
            if isinstance(bounds, list | tuple) and len(bounds) == 2 and all(map(_counts, bounds)):
                least, most = bounds
                if least <= most:
                    return AutoConcurrency(least, most)
        elif _counts(value):
            return int(value)
        raise ValidationError(
            "must be a whole number from 1, 'auto', or its bounds, for instance {'auto': [1, 64]}"
        )


def _counts(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """One of ``PROVIDERS``."""

    name: str
    kind: str = text(REQUIRED, "a kind", "The wire format: see docs/providers.md.")
    base_url: str | None = address(None, "Its address, for kinds that have no default.")
    api_key: str | None = setting(
        fields.String(validate=[validate.Length(min=1), own.header]),
        None,
        "printable ASCII",
        "Its key: read it from the environment or a file.",
        secret=True,
    )
    timeout: float = seconds(60.0, "Maximum time of one call.")
    connect_timeout: float = seconds(5.0, "Maximum time of connecting.")
    max_inputs: int | None = count(
        None, "Inputs of one call.", none=False, shown="what its kind takes"
    )
    max_tokens: int | None = count(
        None, "Tokens of one call.", none=False, shown="what its kind takes"
    )
    concurrency: int | AutoConcurrency = setting(
        Concurrency(),
        64,
        'whole number from 1, "auto", `{"auto": [least, most]}`',
        "Calls at once, of all workers of a host together (of all hosts, where LIMITS has a url). "
        '"auto": as many as help, found out from 1 to 256, for engines of your own.',
    )
    merge: bool = flag(True, "Whether requests that wait leave in one call.")
    proxy: str | None = setting(
        fields.String(validate=addresses.address),
        None,
        "http:// or https:// address",
        "A proxy on the way to it.",
        secret=True,
    )
    ca_bundle: str | None = setting(
        own.Path_(), None, "path of a PEM file", "Certificates to trust for it."
    )
    headers: Mapping[str, str] = setting(
        own.headers(), dict, "names and values", "Headers sent with every call.", secret=True
    )
    #: What only this kind knows, an access key among it.
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def max_concurrency(self) -> int:
        """The most calls at once, of all workers together."""
        limit = self.concurrency
        return limit.most if isinstance(limit, AutoConcurrency) else limit


class ProviderKinds(Protocol):
    """The kinds of provider there are. `app.providers.registry` is the real one."""

    def kinds(self) -> list[str]:
        """Every ``kind`` that PROVIDERS may name."""

    def options(self, kind: str) -> Mapping[str, fields.Field[Any]]:
        """The settings only that kind knows. `ModuleNotFoundError` where its library is missing."""

    def vector_options(self, provider: ProviderSettings, model: str) -> Mapping[str, Any]:
        """The options of a provider that change the vectors of its ``model``, as in use."""


class ProviderEntry(fields.Field[Any]):
    """One of ``PROVIDERS``: a dictionary that becomes the fields of `ProviderSettings`.

    Without ``kinds``, what no other kind has is taken for an option of this one.
    """

    def __init__(self, kinds: ProviderKinds | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kinds = kinds

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise ValidationError("must be a dictionary")
        general = fields_of(ProviderSettings)
        if self.kinds is None:
            loaded: dict[str, Any] = schema_of(ProviderSettings)(unknown=EXCLUDE).load(value)
            return {**loaded, "options": {n: v for n, v in value.items() if n not in general}}
        options = _options(self.kinds, value.get("kind"))
        loaded = Strict.from_dict({**general, **options}, name="Provider")().load(value)
        # A kind may be stricter about a general setting, which stays one.
        names = [name for name in options if name not in general]
        own_options = {name: loaded.pop(name) for name in names if name in loaded}
        return {**loaded, "options": own_options}


def _options(kinds: ProviderKinds, kind: Any) -> Mapping[str, fields.Field[Any]]:
    if not kind:
        return {}
    known = kinds.kinds()
    if kind not in known:
        raise ValidationError({"kind": [unknown("kind", kind, known, "app/providers")]})
    try:
        return kinds.options(kind)
    except ModuleNotFoundError as error:
        raise ValidationError({"kind": [f"{kind!r} {needs_package(error.name, kind)}"]}) from error
