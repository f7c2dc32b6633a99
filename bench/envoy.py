"""The configuration of Envoy as a plain HTTP proxy, which looks at no body and keeps no log."""

_HTTP = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3"
_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
MAX_AT_ONCE = 4096
"""Connections and requests to the provider; Envoy's own bound is 1,024."""


def config(port: int, provider_port: int) -> dict:
    """Return a bootstrap: all that arrives on ``port`` goes to the provider, without a timeout."""
    route = {"match": {"prefix": "/"}, "route": {"cluster": "provider", "timeout": "0s"}}
    hosts = [{"name": "all", "domains": ["*"], "routes": [route]}]
    manager = {
        "@type": f"{_HTTP}.HttpConnectionManager",
        "stat_prefix": "bench",
        "route_config": {"virtual_hosts": hosts},
        "http_filters": [{"name": "router", "typed_config": {"@type": _ROUTER}}],
    }
    listener = {
        "address": _loopback(port),
        "tcp_backlog_size": 4096,
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    return {"static_resources": {"listeners": [listener], "clusters": [_cluster(provider_port)]}}


def _cluster(provider_port: int) -> dict:
    endpoint = {"endpoint": {"address": _loopback(provider_port)}}
    bounds = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests"), MAX_AT_ONCE)
    return {
        "name": "provider",
        "type": "STATIC",
        "circuit_breakers": {"thresholds": [bounds]},
        "load_assignment": {
            "cluster_name": "provider",
            "endpoints": [{"lb_endpoints": [endpoint]}],
        },
    }


def _loopback(port: int) -> dict:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
