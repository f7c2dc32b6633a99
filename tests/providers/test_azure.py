"""Azure OpenAI: two forms of URL, two ways of authentication."""

import importlib
import json
import sys
import time
from types import ModuleType, SimpleNamespace

import pytest

from app.config import ProviderSettings, SettingsError, check
from app.domain import Call
from app.errors import CredentialsRefused, Rejected, Throttled
from app.providers import registry
from app.providers.base import Incoming
from app.providers.kinds import azure
from tests.providers.contract import TEXTS, ProviderContract, soon, wire_of
from tests.providers.fakes.azure import TOKEN, AzureFake

CALL = Call("YOUR_DEPLOYMENT", ["this is a test"], 3)


class TestV1(ProviderContract):
    kind = "azure"
    tokens = True
    takes_user = True
    variants = [{}, {"encoding": "float"}]

    def new_fake(self):
        return AzureFake()

    @pytest.mark.parametrize("further", ["/", "/openai", "/openai/v1", "/openai/v1/"])
    def test_urls_of_the_portal_are_accepted(self, fake, further):
        self.check(self.provider(fake, base_url=fake.address + further), self.call(TEXTS))


class TestByDeployment(ProviderContract):
    kind = "azure"
    tokens = True
    takes_user = True
    settings = {"api_version": "2024-10-21"}

    def new_fake(self):
        return AzureFake("2024-10-21")


class Unauthenticated(Exception):
    pass


@pytest.fixture
def identity(monkeypatch):
    """A fake of azure-identity by its reference; tests set the tokens."""
    state = SimpleNamespace(token=TOKEN, scopes=[], error=None)

    class DefaultAzureCredential:
        def __init__(self, **options):
            state.options = options

        def get_token(self, *scopes):
            state.scopes.append(scopes)
            if state.error:
                raise state.error
            return SimpleNamespace(token=state.token, expires_on=int(time.time()) + 3600)

    modules = {name: ModuleType(name) for name in ("azure", "azure.identity", "azure.core")}
    modules["azure.core.exceptions"] = ModuleType("azure.core.exceptions")
    modules["azure.identity"].DefaultAzureCredential = DefaultAzureCredential
    modules["azure.core.exceptions"].ClientAuthenticationError = Unauthenticated
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return state


class TestEntra(ProviderContract):
    kind = "azure"
    tokens = True
    takes_user = True
    settings = {"auth": "entra", "api_key": None}

    @pytest.fixture(autouse=True)
    def _identity(self, identity):
        self.identity = identity

    def new_fake(self):
        return AzureFake()

    def test_wrong_key_is_credentials_refused(self, fake):
        self.identity.token = "eyJhbGciOiJub25lIn0.e30.x"
        with pytest.raises(CredentialsRefused):
            self.provider(fake).embed(self.call(TEXTS), soon())

    def test_token_is_reused(self, fake):
        provider = self.provider(fake)
        for _ in range(3):
            self.check(provider, self.call(TEXTS))
        assert self.identity.scopes == [("https://cognitiveservices.azure.com/.default",)]

    def test_scope_of_another_cloud_is_used(self, fake):
        scope = "https://cognitiveservices.azure.us/.default"
        self.check(self.provider(fake, scope=scope), self.call(TEXTS))
        assert self.identity.scopes == [(scope,)]

    def test_missing_token_is_an_error(self, fake):
        self.identity.error = Unauthenticated("AADSTS700016 with a secret in it")
        with pytest.raises(CredentialsRefused, match=r"^got no token for us from Entra ID$"):
            self.provider(fake).embed(self.call(TEXTS), soon())
        assert not fake.calls


def test_tokens_are_fetched_through_proxy_and_ca_bundle_of_the_settings(identity):
    """Names of azure-core, "RequestsTransport" and "ProxyPolicy"."""
    given = {"kind": "azure", "base_url": "https://x.openai.azure.com", "auth": "entra"}
    wire_of(**given)
    assert identity.options.keys() & {"proxies", "connection_verify"} == set()
    wire_of(**given, proxy="http://egress:3128", ca_bundle=__file__)
    assert identity.options["proxies"] == {"https": "http://egress:3128"}
    assert identity.options["connection_verify"] == __file__


def test_entra_without_its_library_stops_the_start(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    settings = ProviderSettings(
        "eu", "azure", "https://x.openai.azure.com", options={"auth": "entra"}
    )
    with pytest.raises(SettingsError, match=r"PROVIDERS\['eu'\]\['auth'\].*azure-identity"):
        azure.make(settings)


def test_documented_requests():
    """learn.microsoft.com/azure/ai-services/openai/reference, "Embeddings - Create", and
    …/api-version-lifecycle for v1."""
    address = "https://your-resource.openai.azure.com"
    old = wire_of(
        kind="azure", base_url=address, api_key="k", api_version="2024-10-21", encoding="omit"
    ).build(CALL)
    assert old.path == "/openai/deployments/YOUR_DEPLOYMENT/embeddings?api-version=2024-10-21"
    assert json.loads(old.body) == {"input": ["this is a test"]}
    assert old.headers == {"api-key": "k"}
    new = wire_of(kind="azure", base_url=address, api_key="k", encoding="omit").build(CALL)
    assert new.path == "/openai/v1/embeddings"
    assert json.loads(new.body) == {"input": ["this is a test"], "model": "YOUR_DEPLOYMENT"}


def test_missing_base_url_stops_the_start():
    given = {"PROVIDERS": {"eu": {"kind": "azure", "api_key": "k"}}, "MODELS": {}}
    with pytest.raises(SettingsError, match=r"PROVIDERS\['eu'\]\['base_url'\]: must be set"):
        check(given, registry)


def refusal(status, code, message, **headers):
    body = json.dumps({"error": {"code": code, "message": message}}).encode()
    return wire_of(kind="azure", base_url="https://x").refuse(Incoming(status, headers, body), [])


def test_common_errors_are_classified():
    slow = refusal(
        429,
        "429",
        "Requests to the Embeddings_Create Operation under Azure OpenAI API version 2023-07-01 "
        "have exceeded call rate limit of your current OpenAI S0 pricing tier.",
        **{"retry-after": "2"},
    )
    assert isinstance(slow, Throttled)
    assert slow.retry_after == 2
    denied = refusal(401, "401", "Access denied due to invalid subscription key.")
    assert isinstance(denied, CredentialsRefused)
    assert isinstance(refusal(400, "BadRequest", "too long"), Rejected)
