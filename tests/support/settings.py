"""Settings modules for the proxies of the tests, and the one that most tests share."""

import hashlib
from pathlib import Path
from pprint import pformat
from typing import Any

KEY = "sk-proxy-of-the-tests"  # may use everything
NARROW_KEY = "sk-proxy-one-model-only"  # may use "steady" and nothing else
WIDTH = 32  # of every vector of the shared settings
#: Models that tests let fail: so many of each kind, "embed-0" and so on. See the fixture `fresh`.
FRESH = {"embed": 500, "floats": 100, "closed": 20, "hole": 20}


def settings_file(
    directory: Path,
    providers: dict[str, Any],
    models: dict[str, Any],
    keys: dict[str, Any] | None = None,
    name: str = "settings.py",
    **others: Any,
) -> Path:
    """Write a settings module. `others` are CACHE, LIMITS and LOGS; what is left out is default."""
    names = {"PROVIDERS": providers, "MODELS": models, "KEYS": keys or KEYS, **others}
    path = directory / name
    path.write_text("".join(f"{name} = {pformat(value)}\n" for name, value in names.items()))
    return path


def key(secret: str, *models: str) -> dict[str, Any]:
    """An entry of KEYS."""
    return {"sha256": hashlib.sha256(secret.encode()).hexdigest(), "models": list(models)}


KEYS = {"tests": key(KEY, "*"), "narrow": key(NARROW_KEY, "steady")}


def provider(upstream: Any, **options: Any) -> dict[str, Any]:
    """An entry of PROVIDERS of the openai kind, for an `Upstream` or a base_url."""
    if isinstance(upstream, str):
        return {"kind": "openai", "base_url": upstream, "api_key": "sk-nobody", **options}
    address = {"base_url": upstream.base_url, "api_key": upstream.api_key}
    return {"kind": "openai", **address, **options}


def model(served_by: str, **options: Any) -> dict[str, Any]:
    """An entry of MODELS with one deployment."""
    deployments = [{"provider": served_by, "model": "upstream-model"}]
    return {"dimensions": WIDTH, "deployments": deployments, **options}


def shared(upstream: Any, steady: Any, closed: str, hole: str) -> dict[str, dict[str, Any]]:
    """The providers and models that most tests ask: one name for each way of serving.

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
        "floats": model("floats"),  # the provider is asked for floats
        "unasked": model("unasked"),  # the provider is told no encoding
        "cut": model("fixed", matryoshka=True),  # the proxy cuts, to any width
        "cut-some": model("fixed", matryoshka=[8, 16, 32]),  # the proxy cuts, to these
        "uncut": model("fixed"),  # no narrower vectors at all
        "naming": model("naming"),  # the provider is told the user
        "steady": model("steady"),
        "closed": model("closed"),
        "hole": model("hole"),
        "wordllama": {
            "dimensions": 256,
            "matryoshka": [64, 128, 256],
            "deployments": [{"provider": "local", "model": "l2_supercat"}],
        },
    }
