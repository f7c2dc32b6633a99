"""``GET /metrics``, for allowed networks, and for administrators from any address."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from flask import Blueprint, Response, request
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from app.observability.metrics.files import Files
from app.observability.metrics.gauges import Gauges

#: `app.api.client.ClientAddresses.are_within`.
AreWithin = Callable[[tuple[IPv4Network | IPv6Network, ...], Mapping[str, Any]], bool]


def page(
    files: Files,
    gauges: Gauges,
    allowed: Sequence[str],
    require_admin: Callable[[], object],
    are_within: AreWithin,
) -> Blueprint:
    """Return the route, which serves the numbers of all workers in Prometheus' text format.

    Addresses in ``allowed`` need no key. For others ``require_admin`` is called, which raises if
    the key is not an administrator's.
    """
    networks = tuple(ip_network(network) for network in allowed)
    blueprint = Blueprint("metrics", __name__)

    @blueprint.get("/metrics")
    def metrics() -> Response:
        if not are_within(networks, request.environ):
            require_admin()
        gauges.look()
        return Response(generate_latest(files), content_type=CONTENT_TYPE_LATEST)

    return blueprint
