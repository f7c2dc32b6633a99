"""What every provider must do, whatever its wire format: through the real transport, over a real
socket, against a strict fake.

A test module gives a `ProviderContract` of its own: a kind, a fake, and what the kind cannot do.
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
from app.config.providers import ProviderEntry
from app.domain import Call, Vectors
from app.errors import (
    BrokenContract,
    CredentialsRefused,
    ProviderUnavailable,
    Rejected,
    Throttled,
)
from app.providers import registry
from app.providers.base import Provider, WireFormat
from tests.providers.fakes.base import Fake, Refused
from tests.providers.fakes.lies import GARBAGE, SPOILED
from tests.support.vectors import count_tokens, vector

TEXTS = ["first", "second one", "third of all", "fourth"]
TOKENS = [[1, 2, 3], [4], [5, 6]]


class ProviderContract:
    """Subclass it as ``Test…``, with at least ``kind`` and ``new_fake``."""

    __test__ = False
    kind: ClassVar[str]
    model: ClassVar[str] = "a-model"
    settings: ClassVar[dict[str, Any]] = {}
    #: Settings under which the vectors must be the same, one way of asking each.
    variants: ClassVar[list[dict[str, Any]]] = [{}]
    dimensions: ClassVar[bool] = True
    tokens: ClassVar[bool] = False
    takes_user: ClassVar[bool] = False  # where told to
    #: What the fake's vectors are salted with, by portable input type.
    salts: ClassVar[dict[str | None, str]] = {}
    #: Statuses that its provider answers to a payload it does not like.
    rejections: ClassVar[list[int]] = [400, 413, 422]

    def __init_subclass__(cls) -> None:
        cls.__test__ = True

    # What a subclass may replace

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

    def test_one_and_several_in_every_way_of_asking(self, fake):
        for variant in self.variants:
            provider = self.provider(fake, **variant)
            for texts in (TEXTS[:1], TEXTS, TEXTS + TEXTS):
                self.check(provider, self.call(texts))

    def test_usage_is_the_providers_or_marked_as_estimated(self, fake):
        provider = self.provider(fake)
        vectors = self.check(provider, self.call(TEXTS))
        if fake.counts:
            assert sum(vectors.tokens) == sum(map(count_tokens, TEXTS))
        fake.manners = replace(fake.manners, counts=False)
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

    def test_position_i_of_the_answer_is_the_vector_of_input_i(self, fake):
        provider = self.provider(fake)
        items = st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=10)
        if self.tokens:
            ids = st.lists(st.integers(0, 100_000), min_size=1, max_size=8)
            items |= st.lists(ids, min_size=1, max_size=10)

        @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
        @given(items=items, shuffled=st.booleans())
        def holds(items, shuffled):
            fake.manners = replace(fake.manners, shuffled=shuffled and fake.indexed)
            self.check(provider, self.call(items))

        holds()

    def test_dimensions(self, fake):
        provider = self.provider(fake)
        assert provider.limits(self.model).dimensions is self.dimensions
        if self.dimensions:
            for width in (2, 8):
                self.check(provider, self.call(TEXTS, dimensions=width))

    def test_input_types_reach_the_provider_in_its_own_words(self, fake):
        provider = self.provider(fake)
        for input_type in (None, "query", "document"):
            self.check(provider, self.call(TEXTS, input_type=input_type))
        if self.salts:
            assert self.salts["query"] != self.salts["document"]

    def test_the_user_is_told_only_where_it_is_taken(self, fake):
        assert not self.provider(fake).capabilities.user
        if self.takes_user:
            provider = self.provider(fake, send_user=True)
            assert provider.capabilities.user
            self.check(provider, self.call(TEXTS, user="end-user-1"))
            assert fake.calls[-1].body["user"] == "end-user-1"

    def test_the_fake_is_strict(self, fake):
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

    def test_a_wrong_key(self, fake):
        with self.wrong_key(fake) as provider, pytest.raises(CredentialsRefused) as raised:
            provider.embed(self.call(TEXTS), soon())
        assert fake.api_key not in raised.value.message

    @contextmanager
    def wrong_key(self, fake):
        """A provider whose key the fake refuses."""
        yield self.provider(fake, api_key="sk-not-this-one")

    def refuse(self, fake: Fake, status: int, message: str = "no", **headers: str) -> Any:
        fake.manners.refusal = Refused(status, message, headers)
        return self.provider(fake)

    def test_slow_down(self, fake):
        provider = self.refuse(fake, 429, Retry_After="7")
        with pytest.raises(Throttled) as raised:
            provider.embed(self.call(TEXTS), soon())
        assert raised.value.retry_after == 7

    def test_what_the_caller_did_wrong_is_told_without_secrets(self, fake):
        gossip = f"Text 3 is too long, says http://{fake.address} to {fake.api_key} now."
        for status in self.rejections:
            provider = self.refuse(fake, status, gossip)
            with pytest.raises(Rejected) as raised:
                provider.embed(self.call(TEXTS), soon())
            message = raised.value.message
            assert "Text 3 is too long" in message
            assert "now." in message
            assert fake.api_key not in message
            assert str(fake.port) not in message

    @pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
    def test_failing(self, fake, status):
        provider = self.refuse(fake, status)
        with pytest.raises(ProviderUnavailable) as raised:
            provider.embed(self.call(TEXTS), soon())
        assert raised.value.transient

    def test_garbage_breaks_the_contract(self, fake):
        provider = self.provider(fake)
        for garbage in GARBAGE:
            fake.manners.raw = garbage
            with pytest.raises(BrokenContract):
                provider.embed(self.call(TEXTS), soon())

    @pytest.mark.parametrize("how", SPOILED)
    def test_vectors_that_are_none_break_the_contract(self, fake, how):
        for variant in self.variants:
            fake.manners.spoil = SPOILED[how]
            with pytest.raises(BrokenContract):
                self.provider(fake, **variant).embed(self.call(TEXTS), soon())


def provider_settings(given: dict[str, Any]) -> ProviderSettings:
    """What an operator writes → what a provider is made of, by the way of the schema."""
    return ProviderSettings(name="fake", **ProviderEntry(registry).deserialize(given))


def wire_of(**given: Any) -> WireFormat:
    """The wire format of such settings, without a transport."""
    settings_ = provider_settings(given)
    made = registry._module(settings_.kind).make(settings_)
    assert isinstance(made, WireFormat)
    return made


def soon() -> Deadline:
    return Deadline(time.monotonic() + 10)
