"""Reads the numbers in files of metrics, and makes finished requests."""

from app.domain import EmbeddingRequest
from app.exchange import Exchange
from app.observability.metrics import catalog


def values(files):
    """Sample → value, each sample as it is written: ``name{label="value"}``."""
    found = {}
    for family in files.collect():
        for s in family.samples:
            labels = ",".join(f"{k}={v}" for k, v in sorted(s.labels.items()))
            found[s.name.removeprefix(catalog.PREFIX) + (f"{{{labels}}}" if labels else "")] = (
                s.value
            )
    return found


def exchange(model="embed", error=None, outcome=None, admitted=True):
    made = Exchange("r", "POST", "/v1/embeddings", route="api.embeddings", admitted=admitted)
    made.request = EmbeddingRequest(model, ["a", "b"]) if model else None
    made.error, made.outcome = error, outcome
    return made
