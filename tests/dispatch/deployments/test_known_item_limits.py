"""The limit of a text that is known of a model, or set by the operator."""

import pytest

from app.config import DeploymentSettings, ModelSettings, ProviderSettings, Settings
from app.dispatch import Dispatcher
from app.providers import registry
from app.providers.contexts import MAX_TASK_TOKENS
from app.providers.http.transport import HttpProvider
from app.providers.kinds.gemini import with_task
from tests.dispatch.deployments.test_item_limits import Characters


def served(kind, model, tokenizer=None, **options):
    """The only deployment of a model at a provider of a kind, with the capabilities of that."""
    made = ProviderSettings("p", kind, base_url="http://127.0.0.1:1")
    provider = HttpProvider(made, registry._module(kind).make(made))
    deployment = DeploymentSettings("p", model, **options)
    settings = Settings(
        providers={"p": made}, models={"m": ModelSettings("m", (deployment,))}, keys={}
    )
    tokenizers = {"m": tokenizer} if tokenizer else None
    return Dispatcher(settings, {"p": provider}, tokenizers=tokenizers)


@pytest.mark.parametrize(
    ("kind", "model", "options", "limit"),
    [
        ("gemini", "gemini-embedding-001", {}, 2048),
        ("gemini", "gemini-embedding-001", {"max_item_tokens": 1000}, 1000),
        ("gemini", "gemini-embedding-001", {"max_item_tokens": None}, None),
        ("gemini", "gemini-embedding-2-preview", {}, 8192 - 32),
        ("gemini", "models/gemini-embedding-2", {}, 8192 - 32),
        ("gemini", "another", {}, None),
        ("cohere", "embed-english-v3.0", {}, None),  # told not to cut
        ("cohere", "embed-english-v3.0", {"max_item_tokens": 512}, 512),
    ],
)
def test_the_operators_limit_replaces_that_which_is_known_of_the_model(kind, model, options, limit):
    ((_, deployment),) = served(kind, model, Characters(), **options).deployments()
    assert deployment.max_item_tokens == limit


@pytest.mark.parametrize("input_type", ["query", "document"])
def test_the_words_of_a_task_are_within_the_room_for_them(input_type):
    (text,) = with_task(["x"], input_type, {})
    assert len(text) - 1 <= MAX_TASK_TOKENS  # one token a character, by any tokenizer


@pytest.mark.parametrize(
    ("kind", "model", "tokenizer", "cutting"),
    [
        ("gemini", "gemini-embedding-001", None, ["p/gemini-embedding-001 of m"]),
        ("gemini", "another", Characters(), ["p/another of m"]),
        ("gemini", "gemini-embedding-001", Characters(), []),
        ("infinity", "BAAI/bge-small-en-v1.5", None, ["p/BAAI/bge-small-en-v1.5 of m"]),
        ("together", "another", None, ["p/another of m"]),  # it is not known whether it cuts
        ("cohere", "embed-v4.0", None, []),
    ],
)
def test_deployments_that_cut_and_have_no_limit_in_force_are_named(kind, model, tokenizer, cutting):
    assert served(kind, model, tokenizer).deployments_that_may_cut() == cutting
