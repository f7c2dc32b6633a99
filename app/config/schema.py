"""marshmallow schemas, made of the declarations of settings."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from marshmallow import RAISE, Schema, ValidationError, fields, post_load

from app.config.fields import Named, text
from app.config.sections.declaration import declared


class Strict(Schema):
    """A dictionary whose unknown keys are mistakes that say which key was probably meant."""

    class Meta:
        unknown = RAISE

    error_messages = {"unknown": "unknown setting", "type": "must be a dictionary"}  # noqa: RUF012 - theirs
    #: What else to say where no known name is close.
    unknown_hint: ClassVar[str] = ""
    #: The dataclass that the settings are of.
    settings: ClassVar[type | None] = None

    def handle_error(self, error: ValidationError, data: Any, **_: Any) -> None:
        known = [field.data_key or name for name, field in self.fields.items()]
        for name, found in error.normalized_messages().items():
            if found == ["unknown setting"]:
                close = difflib.get_close_matches(str(name), known, 1)
                hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
                found[0] = f"unknown setting ({hint}{'' if close else self.unknown_hint})"

    @post_load
    def _complete(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        complete = getattr(self.settings, "complete", None)
        return complete(data) if complete else data


def fields_of(settings: type) -> dict[str, fields.Field[Any]]:
    """The fields that check what a dataclass of settings declares."""
    return {name: setting.check for name, setting in declared(settings).items()}


def schema_of(
    settings: type,
    replaced: Mapping[str, fields.Field[Any]] | None = None,
    base: type[Strict] = Strict,
) -> type[Schema]:
    """The schema of a dictionary from which a dataclass of settings can be made.

    The dataclass may have a static method ``complete``, which takes what was loaded and returns it
    with what follows from it; it raises `ValidationError`.
    """
    schema = base.from_dict({**fields_of(settings), **(replaced or {})}, name=settings.__name__)
    schema.settings = settings  # type: ignore[attr-defined]  # of `Strict`, made at run time
    return schema


class Section(fields.Nested):
    """A dictionary that becomes an instance of a dataclass of settings."""

    def __init__(self, settings: type, **kwargs: Any) -> None:
        super().__init__(schema_of(settings), **kwargs)
        self.settings = settings

    def _deserialize(self, *args: Any, **kwargs: Any) -> Any:
        return self.settings(**super()._deserialize(*args, **kwargs))


class Sections(fields.List[Any]):
    """A list of dictionaries of one dataclass, as a tuple."""

    def __init__(self, settings: type, **kwargs: Any) -> None:
        super().__init__(Section(settings), **kwargs)
        self.settings = settings

    def _deserialize(self, *args: Any, **kwargs: Any) -> Any:
        return tuple(super()._deserialize(*args, **kwargs))


class NamedSections(Named):
    """Dictionaries of one dataclass by name; ``valid`` raises `ValidationError` for a name."""

    def __init__(
        self,
        settings: type,
        valid: Callable[[str], None] | None = None,
        entry: fields.Field[Any] | None = None,
        **kwargs: Any,
    ) -> None:
        values = entry or fields.Nested(schema_of(settings))
        super().__init__(keys=text(valid), values=values, **kwargs)
        self.settings = settings

    def _deserialize(self, *args: Any, **kwargs: Any) -> Any:
        entries = super()._deserialize(*args, **kwargs)
        return MappingProxyType({n: self.settings(name=n, **e) for n, e in entries.items()})
