"""An app in the test process with a provider that is a Python object: no sockets, no waits."""

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
    """Embeds as `tests.support.vectors`. ``fail`` is raised if set; ``calls`` lists the calls."""

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
        fail = self.fail  # as it was at the start of the call
        self.entered.release()
        if self.hold is not None:
            assert self.hold.wait(60)
        if fail is not None:
            raise fail
        width = call.width or WIDTH
        assert width < 10_000
        rows = [vector(item, width).tobytes() for item in call.items]
        return Vectors(rows, [count_tokens(item) for item in call.items], self.estimated)

    @property
    def items(self):
        """All items of all calls, in order."""
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
    """Return a test client of an app whose providers are all this one."""
    monkeypatch.setattr(registry, "make", lambda _: provider)
    return create_app(settings(**others)).test_client()


def ask(client, path="/v1/embeddings", headers=None, **fields):
    """POST fields, by default an input for the model "embed", with a key without limits."""
    body = {"model": "embed", "input": "hello", **fields}
    return client.post(path, json=body, headers=AUTH if headers is None else headers)


def error_of(response):
    """Check that a response is an error in OpenAI's format; return its status and fields."""
    assert response.content_type == "application/json"
    assert response.json.keys() == {"error"}, response.text
    assert list(response.json["error"]) == ["message", "type", "param", "code"]
    return SimpleNamespace(status=response.status_code, **response.json["error"])
