"""Loads of tests, on one provider and one model."""

from app.cli.simulation.figures import group_figures
from app.cli.simulation.load import CallerLoad, Load, ProviderLoad
from app.cli.simulation.run import simulate
from app.config import check
from app.providers import registry

SETTINGS = {
    "PROVIDERS": {"p": {"kind": "openai", "api_key": "k"}},
    "MODELS": {"m": {"deployments": [{"provider": "p", "model": "x"}]}},
}


def settings(keys, workers=1, **provider):
    """Return settings with these keys; ``provider`` are settings of the provider."""
    digests = {name: f"{number:064}" for number, name in enumerate(keys)}
    names = {
        **SETTINGS,
        "PROVIDERS": {"p": {**SETTINGS["PROVIDERS"]["p"], **provider}},
        "KEYS": {name: {"sha256": digests[name], **key} for name, key in keys.items()},
    }
    made = check(names, registry)
    object.__setattr__(made, "workers", workers)
    return made


def load(*callers, a_call=0.1, a_text=0.0):
    """Return a load of these callers, whose calls take so many seconds."""
    times = ProviderLoad("p", seconds_a_call=a_call, seconds_a_text=a_text)
    return Load(tuple(CallerLoad(model="m", **caller) for caller in callers), {"p": times})


def figures(keys, callers, seconds=60, sharing="configured", **options):
    """Return the figures of each key; other options are of `load`, or of the provider."""
    times = {name: options.pop(name) for name in ("a_call", "a_text") if name in options}
    run = simulate(load(*callers, **times), settings(keys, **options), seconds, sharing=sharing)
    return {one.key: one for one in group_figures(run)}
