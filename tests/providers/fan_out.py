"""Splits a call by the limits of a model, as dispatch does: several calls, in order."""

from app.concurrency.deadline import Deadline
from app.dispatch.deployments.call_size import split
from app.domain import Call, Vectors
from app.providers.base import Capabilities, Provider


class FannedOut:
    """A provider that splits calls by the limits of its model."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self.capabilities: Capabilities = provider.capabilities

    def limits(self, model: str) -> Capabilities:
        return self._provider.limits(model)

    def embed(self, call: Call, deadline: Deadline) -> Vectors:
        takes = self.limits(call.model)
        parts = [
            self._provider.embed(call.with_items(call.items[start:stop]), deadline)
            for start, stop in split([0] * len(call.items), takes.max_inputs, None)
        ]
        return Vectors(
            [row for part in parts for row in part.rows],
            [tokens for part in parts for tokens in part.tokens],
            any(part.estimated for part in parts),
        )
