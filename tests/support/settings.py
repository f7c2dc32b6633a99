"""Settings modules for proxies of the tests, and the one that most tests share."""

import hashlib
from pathlib import Path
from pprint import pformat
from typing import Any

KEY = "sk-proxy-of-the-tests"  # may use everything
NARROW_KEY = "sk-proxy-one-model-only"  # may use "steady" and nothing else
WIDTH = 32  # of every vector of the shared settings
#: Number of models of each kind that tests let fail, "embed-0" and so on: see the fixture `fresh`.
FRESH = {"embed": 500, "floats": 100, "closed": 20, "hole": 20}


def settings_file(
    directory: Path,
    providers: dict[str, Any],
    models: dict[str, Any],
    keys: dict[str, Any] | None = None,
    name: str = "settings.py",
    **others: Any,
) -> Path:
    """Write a settings module. `others` are CACHE, LIMITS and LOGS; the default is none."""
    names = {"PROVIDERS": providers, "MODELS": models, "KEYS": keys or KEYS, **others}
    path = directory / name
    path.write_text("".join(f"{name} = {pformat(value)}\n" for name, value in names.items()))
    return path


def key(secret: str, *models: str) -> dict[str, Any]:
    """Return an entry of KEYS."""
    return {"sha256": hashlib.sha256(secret.encode()).hexdigest(), "models": list(models)}


KEYS = {"tests": key(KEY, "*"), "narrow": key(NARROW_KEY, "steady")}


def provider(upstream: Any, **options: Any) -> dict[str, Any]:
    """Return an entry of PROVIDERS of kind openai, for an `Upstream` or a base_url."""
    if isinstance(upstream, str):
        return {"kind": "openai", "base_url": upstream, "api_key": "sk-unknown", **options}
    address = {"base_url": upstream.base_url, "api_key": upstream.api_key}
    return {"kind": "openai", **address, **options}


def model(served_by: str, **options: Any) -> dict[str, Any]:
    """Return an entry of MODELS with one deployment."""
    deployments = [{"provider": served_by, "model": "upstream-model"}]
    return {"dimensions": WIDTH, "deployments": deployments, **options}


def shared(upstream: Any, steady: Any, closed: str, hole: str) -> dict[str, dict[str, Any]]:
    """Return the providers and models of most tests: one model for each configuration.

    `upstream` is the provider that tests script; `steady` is always good; `closed` refuses
    connections and `hole` never completes them.
    """
    models = _models()
    copies = {f"{kind}-{i}": models[kind] for kind, number in FRESH.items() for i in range(number)}
    return {
        "providers": {
            "scripted": provider(upstream),
            "floats": provider(upstream, encoding="float"),
            "unasked": provider(upstream, encoding="omit"),
            "fixed": provider(upstream, send_dimensions=False),
            "naming": provider(upstream, send_user=True),
            "steady": provider(steady),
            "closed": provider(closed),
            "hole": provider(hole, connect_timeout=30),
            "local": {"kind": "local"},
        },
        # Each with a space of its own: no test finds in the cache what another has left there.
        "models": {name: {**one, "space": name} for name, one in (models | copies).items()},
    }


def _models() -> dict[str, dict[str, Any]]:
    return {
        "embed": model("scripted", matryoshka=True, **{"pass": ["task"]}),
        "floats": model("floats"),  # floats are requested
        "unasked": model("unasked"),  # no encoding is sent
        "cut": model("fixed", matryoshka=True),  # the proxy cuts, to any width
        "cut-some": model("fixed", matryoshka=[8, 16, 32]),  # the proxy cuts, to these
        "uncut": model("fixed"),  # no narrower vectors
        "naming": model("naming"),  # the user is sent
        "steady": model("steady"),
        "closed": model("closed"),
        "hole": model("hole"),
        "wordllama": {
            "dimensions": 256,
            "matryoshka": [64, 128, 256],
            "deployments": [{"provider": "local", "model": "l2_supercat"}],
        },
    }
