"""The shape of the settings of `app.config_observers`."""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

from marshmallow import ValidationError, fields, post_load, validate, validates_schema

from app.config_schema_fields import Named, Strict, address, boolean, header, seconds, text


def _network(value: str) -> None:
    try:
        ipaddress.ip_network(value)
    except ValueError as error:
        raise ValidationError("must be a network, for instance '10.0.0.0/8'") from error


class MetricsSchema(Strict):
    enabled = boolean()
    allowed = fields.List(fields.String(validate=_network))

    @post_load
    def _freeze(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {**data, **({"allowed": tuple(data["allowed"])} if "allowed" in data else {})}


class TracingSchema(Strict):
    endpoint = fields.String(required=True, validate=address)
    headers = Named(keys=text(), values=fields.String(validate=header))
    sample = fields.Float(validate=validate.Range(min=0, max=1))
    service = text()
    timeout = seconds()

    @validates_schema
    def _has_its_packages(self, _: dict[str, Any], **__: Any) -> None:
        with suppress(ModuleNotFoundError):  # a package above it is not there
            if find_spec("opentelemetry.exporter.otlp.proto.http"):
                return
        raise ValidationError("needs OpenTelemetry: pip install '.[tracing]'")
