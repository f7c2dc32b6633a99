"""Starts the HTTP server in TensorZero's Python package: ``python tensorzero_gateway.py CONFIG``.

It runs in the environment of the peers, and serves until killed. The package starts this server for
its ``patch_openai_client``. It is written in Rust, listens itself and has the handlers of the
stand-alone gateway: Python only starts it.
"""

import signal
import sys

PATH = "/openai/v1/embeddings"


def config(provider_port: int) -> str:
    """Return the settings of a gateway with the model ``bench``; it records no requests."""
    return f"""
[gateway]
observability.enabled = false
disable_pseudonymous_usage_analytics = true

[embedding_models.bench]
routing = ["provider"]

[embedding_models.bench.providers.provider]
type = "openai"
api_base = "http://127.0.0.1:{provider_port}/v1/"
model_name = "bench"
api_key_location = "none"
"""


def main() -> None:
    """Start the server, print its URL, and wait."""
    import tensorzero  # only in the environment of the peers

    running = tensorzero._start_http_gateway(
        config_file=sys.argv[1],
        clickhouse_url=None,
        postgres_url=None,
        valkey_url=None,
        async_setup=False,
    )
    print(running.base_url, flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
