"""End to end: unusual connections and headers of a healthy provider cause no failures."""

import time
from collections import Counter

import pytest

from app.factory import create_app
from tests.support import settings
from tests.support.upstream import Upstream


@pytest.fixture
def upstream():
    with Upstream(settings.WIDTH) as made:
        yield made


@pytest.fixture
def client(upstream):
    """A client of a proxy in this process, whose model has one deployment."""
    models = {name: settings.model("p") for name in ("embed", "steady")}
    app = create_app(
        {
            "PROVIDERS": {"p": settings.provider(upstream)},
            "MODELS": models,
            "KEYS": settings.KEYS,
            "LOGS": {"level": "ERROR"},
        }
    )
    return app.test_client()


def ask(client, text):
    return client.post(
        "/v1/embeddings",
        json={"model": "embed", "input": text},
        headers={"Authorization": f"Bearer {settings.KEY}"},
    )


def closing_after(seconds):
    """Answer as if the connection were kept, and close it soon after."""

    def behaviour(exchange):
        exchange.reply(200, exchange.answer())
        time.sleep(seconds)
        exchange.last = True

    return behaviour


def test_closed_kept_connection_is_no_failure(client, upstream):
    """400 requests one by one, without pause: some use a connection that is just closed."""
    upstream.always(closing_after(0.001))
    heard = Counter()
    for i in range(400):
        answer = ask(client, f"{i}")
        heard[answer.status_code, answer.headers.get("x-proxy-attempts")] += 1
    assert heard == {(200, "1"): 400}


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (429, {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1.2.3s"}),
        (429, {"Retry-After": "Wed, 21 Oct 99999999999999 07:28:00 GMT"}),
        (503, {"Retry-After": "Fri, 31 Dec 9999 23:59:59 -2359"}),
        (503, {"Retry-After": "9" * 5000}),
        (503, {"Retry-After": "1e400"}),
    ],
    ids=["reset of three points", "a huge year", "past the last year", "5,000 digits", "infinity"],
)
def test_no_header_of_a_provider_causes_a_500(client, upstream, status, headers):
    upstream.always(lambda exchange: exchange.reply(status, {}, **headers))
    answer = ask(client, "x")
    assert answer.status_code in (429, 502, 503)
