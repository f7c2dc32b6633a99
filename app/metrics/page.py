"""``GET /metrics``, for whom it is meant: neighbours, and administrators from anywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_address, ip_network
from typing import Any

from flask import Blueprint, Response, request
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from app.metrics.files import Files
from app.metrics.gauges import Gauges


class Page:
    """The numbers of all workers, in Prometheus' text format.

    Served without a key to addresses in ``allowed``; ``must_be_admin`` is asked about all others.
    """

    def __init__(
        self,
        files: Files,
        gauges: Gauges,
        allowed: Sequence[str],
        must_be_admin: Callable[[], object],
    ) -> None:
        self._files = files
        self._gauges = gauges
        self._allowed = [ip_network(network) for network in allowed]
        self._must_be_admin = must_be_admin

    def blueprint(self) -> Blueprint:
        metrics = Blueprint("metrics", __name__)
        metrics.add_url_rule("/metrics", view_func=self.metrics, methods=["GET"])
        return metrics

    def metrics(self) -> Response:
        if not all(map(self._is_neighbour, _addresses(request.environ))):
            self._must_be_admin()
        self._gauges.look()
        return Response(generate_latest(self._files), content_type=CONTENT_TYPE_LATEST)

    def _is_neighbour(self, address: str) -> bool:
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        parsed = getattr(parsed, "ipv4_mapped", None) or parsed
        return any(parsed in network for network in self._allowed)


def _addresses(environ: dict[str, Any]) -> list[str]:
    """The peer, and the client that the nearest proxy names: both must be allowed.

    nginx on this host is a neighbour, those it serves need not be. Who is no proxy of ours can only
    make things worse for himself by naming more. A Unix socket has no address: its mode decides.
    """
    forwarded = environ.get("HTTP_X_FORWARDED_FOR", "")
    named = [environ.get("REMOTE_ADDR", ""), forwarded.rpartition(",")[2].strip()]
    if environ.get("HTTP_FORWARDED") and not forwarded:
        named.append("unknown")  # RFC 7239: nobody here can tell
    return [address for address in named if address]
