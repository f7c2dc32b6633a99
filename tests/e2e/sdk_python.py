"""Clients of the OpenAI SDK for Python, for two proxies: of an embedded model and of a provider."""

from dataclasses import dataclass
from itertools import combinations
from string import ascii_lowercase

import openai
import pytest

from tests.support.settings import KEY

# Pairs, because a static model such as wordllama ignores the order of words.
NUMBERS = [f"{i}{letter}" for i, letter in enumerate(ascii_lowercase[:25])]
TEXTS = [f"from {one} to {other}" for one, other in combinations(NUMBERS, 2)]


@dataclass(frozen=True)
class Stand:
    """A running proxy, one of its models, and its widths."""

    url: str
    model: str
    width: int
    narrow: int


@pytest.fixture(scope="module", params=["embedded", "upstream"])
def stand(request):
    """The embedded model without settings, and a model of a provider."""
    if request.param == "embedded":
        return Stand(request.getfixturevalue("default_proxy").url, "wordllama", 256, 64)
    return Stand(request.getfixturevalue("proxy").url, "embed", 32, 8)


@pytest.fixture
def sdk(stand):
    with make(stand.url) as client:
        yield client


@pytest.fixture
def scripted(proxy, upstream):
    """A client whose model is served by `upstream`, and which does not retry."""
    with make(proxy.url) as client:
        yield client


def make(url, kind=openai.OpenAI, **options):
    return kind(**{"base_url": url + "/v1", "api_key": KEY, "max_retries": 0, **options})
