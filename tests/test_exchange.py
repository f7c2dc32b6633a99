"""Request ids, and the clock of an exchange."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import exchange as module
from app.exchange import Exchange, request_id

NEW = re.compile(r"req_[0-9a-f]{32}")


@pytest.mark.parametrize(
    "given", ["a", "req_123", "A.b-c:d/e+f=g_9", "x" * 128, "0af7651916cd43dd8448eb211c80319c"]
)
def test_a_well_formed_id_is_kept(given):
    assert request_id(given) == given


@pytest.mark.parametrize(
    "given", [None, "", " ", "a b", "x" * 129, "a\n", "a\r\nx: y", "ü", "<b>", '"', "a,b", "%0a"]
)
def test_other_ids_are_replaced(given):
    assert NEW.fullmatch(request_id(given))


@given(st.text())
def test_ids_are_safe_in_headers_and_logs(given):
    assert re.fullmatch(r"[!-~]{1,128}", request_id(given))


def test_new_ids_are_unique():
    assert len({request_id(None) for _ in range(1000)}) == 1000


def test_the_clock_starts_with_the_exchange(monkeypatch):
    now = [50.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    exchange = Exchange("req_1", "POST", "/v1/embeddings", started=50.0)
    now[0] = 50.25
    assert exchange.elapsed() == 0.25


@pytest.mark.parametrize(
    ("method", "route", "does"),
    [
        ("POST", "api.embeddings", True),
        ("OPTIONS", "api.embeddings", False),
        ("GET", "api.models", False),
        ("POST", "", False),
    ],
)
def test_only_posts_to_the_route_ask_for_embeddings(method, route, does):
    assert Exchange("r", method, "/v1/embeddings", route=route).asks_for_embeddings is does
