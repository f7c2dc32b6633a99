"""``GET /metrics``, for allowed networks, and for administrators from any address."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from flask import Blueprint, Response, request
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from app.observability.metrics.files import Files
from app.observability.metrics.gauges import Gauges

#: `app.api.client_address.ClientAddresses.are_within`.
AreWithin = Callable[[tuple[IPv4Network | IPv6Network, ...], Mapping[str, Any]], bool]


class Page:
    """Serves the numbers of all workers in Prometheus' text format.

    Addresses in ``allowed`` need no key. For others ``require_admin`` is called, which raises if
    the key is not an administrator's.
    """

    def __init__(
        self,
        files: Files,
        gauges: Gauges,
        allowed: Sequence[str],
        require_admin: Callable[[], object],
        are_within: AreWithin,
    ) -> None:
        self._files = files
        self._gauges = gauges
        self._allowed = tuple(ip_network(network) for network in allowed)
        self._are_within = are_within
        self._require_admin = require_admin

    def blueprint(self) -> Blueprint:
        metrics = Blueprint("metrics", __name__)
        metrics.add_url_rule("/metrics", view_func=self.metrics, methods=["GET"])
        return metrics

    def metrics(self) -> Response:
        if not self._are_within(self._allowed, request.environ):
            self._require_admin()
        self._gauges.look()
        return Response(generate_latest(self._files), content_type=CONTENT_TYPE_LATEST)
