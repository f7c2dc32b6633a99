"""Tests that every provider passes, over real sockets, against a strict fake.

A test module subclasses `ProviderContract` with a kind, a fake, and what the kind cannot do.
"""

import time
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.concurrency.deadline import Deadline
from app.config import ProviderSettings
from app.config.sections.providers import ProviderEntry
from app.domain import Call, Vectors
from app.errors import BrokenContract, CredentialsRefused, ProviderUnavailable, Rejected, Throttled
from app.providers import registry
from app.providers.base import Provider, WireFormat
from tests.providers.fakes.base import Fake, Refused
from tests.providers.fakes.broken_answers import GARBAGE, SPOILED
from tests.support.vectors import count_tokens, vector

TEXTS = ["first", "second one", "third of all", "fourth"]
TOKENS = [[1, 2, 3], [4], [5, 6]]


class ProviderContract:
    """Subclass it as ``Test…``, with at least ``kind`` and ``new_fake``."""

    __test__ = False
    kind: ClassVar[str]
    model: ClassVar[str] = "a-model"
    settings: ClassVar[dict[str, Any]] = {}
    #: Settings that must give the same vectors, one for each form of request.
    variants: ClassVar[list[dict[str, Any]]] = [{}]
    dimensions: ClassVar[bool] = True
    tokens: ClassVar[bool] = False
    takes_user: ClassVar[bool] = False  # if configured
    #: Salt of the fake's vectors, by portable input type.
    salts: ClassVar[dict[str | None, str]] = {}
    #: Statuses of its provider for a bad payload.
    rejections: ClassVar[list[int]] = [400, 413, 422]

    def __init_subclass__(cls) -> None:
        cls.__test__ = True

    # Replaceable in a subclass

    def new_fake(self) -> Fake:
        raise NotImplementedError

    def provider(self, fake: Fake, **others: Any) -> Provider:
        given = {
            "kind": self.kind,
            "base_url": fake.address,
            "api_key": fake.api_key,
            **self.settings,
            **others,
        }
        return registry.make(provider_settings(given))

    # The contract

    @pytest.fixture
    def fake(self):
        with self.new_fake() as fake:
            yield fake

    def call(self, items: Any, **others: Any) -> Call:
        return Call(self.model, items, **{"width": others.get("dimensions") or 8, **others})

    def assert_right(self, vectors: Vectors, call: Call) -> None:
        salt = self.salts.get(call.input_type, self.salts.get(None, ""))
        expected = [vector(item, call.width, salt) for item in call.items]
        assert len(vectors.rows) == len(vectors.tokens) == len(expected)
        for row, right in zip(vectors.rows, expected, strict=True):
            np.testing.assert_allclose(np.frombuffer(row, "<f4"), right, rtol=0, atol=1e-6)

    def check(self, provider: Provider, call: Call) -> Vectors:
        vectors = provider.embed(call, soon())
        self.assert_right(vectors, call)
        return vectors

    def test_one_and_several_inputs_in_every_form_of_request(self, fake):
        for variant in self.variants:
            provider = self.provider(fake, **variant)
            for texts in (TEXTS[:1], TEXTS, TEXTS + TEXTS):
                self.check(provider, self.call(texts))

    def test_usage_is_the_providers_or_marked_as_estimated(self, fake):
        provider = self.provider(fake)
        vectors = self.check(provider, self.call(TEXTS))
        if fake.counts:
            assert sum(vectors.tokens) == sum(map(count_tokens, TEXTS))
        fake.behaviour = replace(fake.behaviour, counts=False)
        uncounted = self.check(provider, self.call(TEXTS))
        assert uncounted.estimated
        assert all(tokens >= 1 for tokens in uncounted.tokens)

    def test_tokens_are_embedded_or_refused(self, fake):
        provider = self.provider(fake)
        assert provider.limits(self.model).tokens is self.tokens
        if self.tokens:
            self.check(provider, self.call(TOKENS))
            return
        with pytest.raises(Rejected, match="takes only text") as raised:
            provider.embed(self.call(TOKENS), soon())
        assert raised.value.param == "input"
        assert not fake.calls

    def test_vectors_are_in_input_order(self, fake):
        provider = self.provider(fake)
        items = st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=10)
        if self.tokens:
            ids = st.lists(st.integers(0, 100_000), min_size=1, max_size=8)
            items |= st.lists(ids, min_size=1, max_size=10)

        @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
        @given(items=items, shuffled=st.booleans())
        def holds(items, shuffled):
            fake.behaviour = replace(fake.behaviour, shuffled=shuffled and fake.indexed)
            self.check(provider, self.call(items))

        holds()

    def test_dimensions_are_applied_or_refused(self, fake):
        provider = self.provider(fake)
        assert provider.limits(self.model).dimensions is self.dimensions
        if self.dimensions:
            for width in (2, 8):
                self.check(provider, self.call(TEXTS, dimensions=width))

    def test_input_types_reach_the_provider(self, fake):
        provider = self.provider(fake)
        for input_type in (None, "query", "document"):
            self.check(provider, self.call(TEXTS, input_type=input_type))
        if self.salts:
            assert self.salts["query"] != self.salts["document"]

    def test_user_is_sent_only_if_supported(self, fake):
        assert not self.provider(fake).capabilities.user
        if self.takes_user:
            provider = self.provider(fake, send_user=True)
            assert provider.capabilities.user
            self.check(provider, self.call(TEXTS, user="end-user-1"))
            assert fake.calls[-1].body["user"] == "end-user-1"

    def test_fake_is_strict(self, fake):
        with pytest.raises(Rejected):
            self.provider(fake).embed(self.call(TEXTS, passed={"no_such_field": 1}), soon())

    def test_limits_are_those_of_the_provider(self, fake):
        provider = self.provider(fake)
        limit = provider.limits(self.model).max_inputs
        if fake.limit is None:
            return
        assert limit is not None
        assert limit <= fake.limit
        self.check(provider, self.call(["x"] * limit))
        if limit == fake.limit and limit > 1:
            with pytest.raises(Rejected):
                provider.embed(self.call(["x"] * (limit + 1)), soon())

    def test_wrong_key_is_credentials_refused(self, fake):
        with self.wrong_key(fake) as provider, pytest.raises(CredentialsRefused) as raised:
            provider.embed(self.call(TEXTS), soon())
        assert fake.api_key not in raised.value.message

    @contextmanager
    def wrong_key(self, fake):
        """Return a provider whose key the fake refuses."""
        yield self.provider(fake, api_key="sk-not-this-one")

    def refuse(self, fake: Fake, status: int, message: str = "no", **headers: str) -> Any:
        fake.behaviour.refusal = Refused(status, message, headers)
        return self.provider(fake)

    def test_429_is_rate_limited(self, fake):
        provider = self.refuse(fake, 429, Retry_After="7")
        with pytest.raises(Throttled) as raised:
            provider.embed(self.call(TEXTS), soon())
        assert raised.value.retry_after == 7

    def test_bad_request_has_a_message_without_secrets(self, fake):
        message_with_secrets = f"Text 3 is too long: http://{fake.address}, {fake.api_key} now."
        for status in self.rejections:
            provider = self.refuse(fake, status, message_with_secrets)
            with pytest.raises(Rejected) as raised:
                provider.embed(self.call(TEXTS), soon())
            message = raised.value.message
            assert "Text 3 is too long" in message
            assert "now." in message
            assert fake.api_key not in message
            assert str(fake.port) not in message

    @pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
    def test_server_error_is_unavailable(self, fake, status):
        provider = self.refuse(fake, status)
        with pytest.raises(ProviderUnavailable) as raised:
            provider.embed(self.call(TEXTS), soon())
        assert raised.value.transient

    def test_garbage_is_a_broken_contract(self, fake):
        provider = self.provider(fake)
        for garbage in GARBAGE:
            fake.behaviour.raw = garbage
            with pytest.raises(BrokenContract):
                provider.embed(self.call(TEXTS), soon())

    @pytest.mark.parametrize("how", SPOILED)
    def test_invalid_vectors_are_a_broken_contract(self, fake, how):
        for variant in self.variants:
            fake.behaviour.spoil = SPOILED[how]
            with pytest.raises(BrokenContract):
                self.provider(fake, **variant).embed(self.call(TEXTS), soon())


def provider_settings(given: dict[str, Any]) -> ProviderSettings:
    """Return the settings of a provider from those of an operator, through the schema."""
    return ProviderSettings(name="fake", **ProviderEntry(registry).deserialize(given))


def wire_of(**given: Any) -> WireFormat:
    """Return the wire format of settings, without a transport."""
    settings_ = provider_settings(given)
    made = registry._module(settings_.kind).make(settings_)
    assert isinstance(made, WireFormat)
    return made


def soon() -> Deadline:
    return Deadline(time.monotonic() + 60)
