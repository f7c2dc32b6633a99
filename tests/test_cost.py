"""The cost of a request in function calls, which does not depend on the load of the machine.

The margins are wide. They are to notice that something is done twice, or that something costs by
the number of keys, models or cached entries; `make bench` measures time.
"""

import gc
import hashlib

import pytest
from werkzeug.test import EnvironBuilder

from app.errors import Rejected
from tests.api.fake import AUTH, FakeProvider, app_with, settings
from tests.providers.http import WIDTH, assert_embeds, call, provider_at, within
from tests.support import refusals
from tests.support.cost import calls_of
from tests.support.upstream import Upstream, good

#: Calls of Python and C functions for one short text, and for asking a provider over HTTP. They
#: were 506 and 245 when this was written.
SHORT = 750
UPSTREAM = 400


def environ(**body):
    payload = {"model": "embed", "input": "text", "encoding_format": "base64", **body}
    builder = EnvironBuilder("/v1/embeddings", method="POST", json=payload, headers=AUTH)
    made = builder.get_environ()
    builder.close()
    return made


def ask(client, **body):
    """Run one request without the overhead of a test client."""
    wsgi_environ, statuses = environ(**body), []
    yield
    b"".join(client.application.wsgi_app(wsgi_environ, lambda status, _: statuses.append(status)))
    yield
    assert statuses == ["200 OK"]


def warm(client, **body):
    for _ in range(5):
        for _ in ask(client, **body):
            pass


def cost(client, **body) -> int:
    """Count the function calls of a request in its own thread, after a warm-up."""
    warm(client, **body)
    steps = ask(client, **body)
    next(steps)
    number = calls_of(lambda: next(steps))
    next(steps, None)
    return number


@pytest.fixture
def client_with(monkeypatch):
    """A client of an app with these settings."""
    return lambda **others: app_with(monkeypatch, FakeProvider(), **others)


def test_calls_for_a_short_text_do_not_grow(client_with):
    assert SHORT / 3 < cost(client_with()) < SHORT


def test_calls_for_a_provider_call_do_not_grow():
    with Upstream(WIDTH) as upstream:
        provider = provider_at(upstream)
        for _ in range(3):
            assert_embeds(provider)
        asked, deadline = call(), within()
        number = calls_of(lambda: provider.embed(asked, deadline))
    assert UPSTREAM / 3 < number < UPSTREAM


REFUSED = {
    "nothing": {},
    "input": {"input": []},
    "model": {"model": "nobody"},
    "width": {"dimensions": 10**6},
    "provider": {"model": "steady"},
}


def fails(*_):
    raise Rejected("no")


def garbage_of(client, **body):
    """Return how many objects 50 requests leave to the garbage collector."""

    def ask_often():
        for _ in range(50):
            client.application.wsgi_app(environ(**body), lambda *_: None)

    ask_often()
    gc.collect()
    gc.disable()
    try:
        ask_often()
        return gc.collect()
    finally:
        gc.enable()


#: A cycle for each request makes 50 times its objects; threads of other tests may end meanwhile.
FEW = 200


@pytest.mark.parametrize("wrong", REFUSED)
def test_request_makes_no_reference_cycles(monkeypatch, wrong):
    """A cycle, also of a failed request, would keep a body of megabytes in memory."""
    provider = FakeProvider()
    if wrong == "provider":
        provider.embed = fails
    assert garbage_of(app_with(monkeypatch, provider), **REFUSED[wrong]) < FEW


@pytest.mark.parametrize("behaviour", [good, refusals.status(400), refusals.status(500)])
def test_provider_call_makes_no_reference_cycles(monkeypatch, behaviour):
    """One for each call keeps the requests of its batch, and fills the youngest generation."""
    with Upstream(WIDTH) as upstream:
        upstream.always(behaviour)
        client = app_with(monkeypatch, provider_at(upstream))
        assert garbage_of(client, model="org/model") < FEW
        assert len(upstream.calls) >= 100


def test_cache_hit_costs_less_than_a_provider_call(client_with):
    client = client_with()
    assert cost(client, caching=True) < 1.1 * cost(client)


def test_cost_does_not_grow_with_number_of_keys(client_with):
    digests = (hashlib.sha256(b"%d" % i).hexdigest() for i in range(2000))
    keys = settings()["KEYS"] | {f"key {d}": {"sha256": d, "models": ["*"]} for d in digests}
    assert cost(client_with(KEYS=keys)) < 1.05 * cost(client_with())


def test_cost_does_not_grow_with_number_of_models(client_with):
    models = settings()["MODELS"]
    many = models | {f"model {i}": models["embed"] for i in range(300)}
    assert cost(client_with(MODELS=many)) < 1.1 * cost(client_with(MODELS=models))


def test_cost_of_a_further_deployment_is_small(client_with):
    def with_deployments(number):
        model = settings()["MODELS"]["embed"]
        model = model | {"deployments": model["deployments"][:1] * number}
        return cost(client_with(MODELS=settings()["MODELS"] | {"embed": model}))

    assert with_deployments(22) - with_deployments(2) < 20 * 20  # calls of functions


def test_cost_is_proportional_to_inputs(client_with):
    client = client_with()
    hundred = cost(client, input=["text"] * 100)
    thousand = cost(client, input=["text"] * 1000)
    assert thousand < 11 * hundred
