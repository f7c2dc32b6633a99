"""The app in this process, over a provider that is a Python object: no sockets, no waiting."""

import threading
from types import SimpleNamespace

from app.domain import Vectors
from app.factory import create_app
from app.providers import registry
from app.providers.base import Capabilities
from tests.support.settings import KEY, KEYS
from tests.support.vectors import count_tokens, vector

WIDTH = 8
AUTH = {"Authorization": f"Bearer {KEY}"}


class FakeProvider:
    """Embeds as `tests.support.vectors` says. ``fail`` raises it; ``calls`` remembers."""

    def __init__(self, **capabilities):
        self.capabilities = Capabilities(**capabilities)
        self.calls = []
        self.fail = None
        self.hold = None  # an Event: calls wait until it is set
        self.entered = threading.Semaphore(0)  # released by each call
        self.estimated = False

    def limits(self, _model):
        return self.capabilities

    def embed(self, call, deadline):
        self.calls.append(call)
        fail = self.fail  # as it was when the call came
        self.entered.release()
        if self.hold is not None:
            assert self.hold.wait(10)
        if fail is not None:
            raise fail
        width = call.width or WIDTH
        assert width < 10_000
        rows = [vector(item, width).tobytes() for item in call.items]
        return Vectors(rows, [count_tokens(item) for item in call.items], self.estimated)

    @property
    def items(self):
        """All items it was ever asked for, in order."""
        return [item for call in self.calls for item in call.items]


def settings(**others):
    """Settings for one fake provider "fake" that serves "embed", "narrow" and "steady"."""
    deployments = [{"provider": "fake", "model": "upstream-model"}]
    return {
        "PROVIDERS": {"fake": {"kind": "openai", "api_key": "sk-upstream-secret"}},
        "MODELS": {
            "embed": {"dimensions": WIDTH, "deployments": deployments, "pass": ["task"]},
            "steady": {"dimensions": WIDTH, "deployments": deployments},
            "org/model": {"deployments": deployments},
        },
        "KEYS": KEYS,
        "CACHE": {"ttl": 60, "max_bytes": 2**20},
        **others,
    }


def app_with(monkeypatch, provider, **others):
    """A test client of an app in which every provider is this one."""
    monkeypatch.setattr(registry, "make", lambda _: provider)
    return create_app(settings(**others)).test_client()


def ask(client, path="/v1/embeddings", headers=None, **fields):
    """POST fields (by default an input to "embed") with the key that may do everything."""
    body = {"model": "embed", "input": "hello", **fields}
    return client.post(path, json=body, headers=AUTH if headers is None else headers)


def error_of(response):
    """Status and error of an answer that has to be one in OpenAI's shape."""
    assert response.content_type == "application/json"
    assert response.json.keys() == {"error"}, response.text
    assert list(response.json["error"]) == ["message", "type", "param", "code"]
    return SimpleNamespace(status=response.status_code, **response.json["error"])
