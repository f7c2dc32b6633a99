"""Bedrock's settings, and AWS's credentials by the real botocore."""

import json
import ssl
import sys
from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError

from app.config import SettingsError
from app.errors import CredentialsRefused, ProviderUnavailable
from app.providers import registry
from app.providers.credentials import aws
from tests.providers.contract import provider_settings, wire_of
from tests.providers.fakes.bedrock import ACCESS_KEY, REGION
from tests.providers.http import forward_proxy, listening, make_certificate
from tests.support.wire import read_request

PROFILE = "arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/abc123"


def test_china_has_its_own_domain():
    wire = wire_of(kind="bedrock", region="cn-north-1", api_key="ABSK-1")
    assert wire.base_url == "https://bedrock-runtime.cn-north-1.amazonaws.com.cn"


def test_model_without_family_stops_the_start():
    wire = wire_of(kind="bedrock", region="us-east-1", api_key="ABSK-1")
    with pytest.raises(SettingsError, match=r"PROVIDERS\['fake'\]\['family'\]: must be set, .*abc"):
        wire.limits(PROFILE)
    assert wire.limits("us.amazon.nova-2-multimodal-embeddings-v1:0").max_inputs == 1


def test_an_access_key_without_its_secret_stops_the_start():
    with pytest.raises(SettingsError, match="secret access key"):
        wire_of(kind="bedrock", region="us-east-1", access_key_id=ACCESS_KEY)


def test_without_botocore_an_api_key_is_enough(monkeypatch):
    monkeypatch.setitem(sys.modules, "botocore.auth", None)
    monkeypatch.delitem(sys.modules, "app.providers.credentials.aws")
    monkeypatch.delattr("app.providers.credentials.aws")
    wire_of(kind="bedrock", region="us-east-1", api_key="ABSK-1")
    with pytest.raises(SettingsError, match=r"pip install '.\[bedrock\]'"):
        wire_of(kind="bedrock", region="us-east-1")


def test_the_registry_knows_the_cloud_kinds_and_no_helpers():
    assert {"bedrock", "gemini", "vertex"} <= set(registry.kinds())
    assert not {"aws", "bedrock_models", "credentials"} & set(registry.kinds())


# Credentials, by the real botocore


def test_credentials_of_botocore_are_renewed_before_they_expire(tmp_path, monkeypatch):
    """A process that hands out credentials for 20 minutes: docs.aws.amazon.com/sdkref/latest/
    guide/feature-process-credentials.html."""
    script, given = tmp_path / "hand_out.py", tmp_path / "given"
    script.write_text(f"print(open({str(given)!r}).read())")
    config = tmp_path / "config"
    config.write_text(f"[profile ours]\ncredential_process = {sys.executable} {script}\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))

    def hand_out(key, minutes):
        expires = (datetime.now(UTC) + timedelta(minutes=minutes)).isoformat()
        found = {"Version": 1, "AccessKeyId": key, "SecretAccessKey": "s", "SessionToken": "t"}
        given.write_text(json.dumps({**found, "Expiration": expires}))

    now = [0.0]
    settings = {"kind": "bedrock", "region": REGION, "profile": "ours"}
    hand_out("FIRST", 12)  # it is valid for less than botocore's 15 minutes
    get = aws.credentials(provider_settings(settings), lambda: now[0])
    get.__self__._start = lambda work: work()  # the thread runs at once
    assert get().access_key == "FIRST"
    hand_out("SECOND", 60)
    now[0] = 374
    assert get().access_key == "FIRST"
    now[0] = 375
    get()
    assert get().access_key == "SECOND"


def chain(monkeypatch, error):
    def get_credentials(self):
        if error is not None:
            raise error

    monkeypatch.setattr(aws.Session, "get_credentials", get_credentials)
    return aws.credentials(provider_settings({"kind": "bedrock", "region": REGION}))


def test_missing_credentials_are_an_error(monkeypatch):
    with pytest.raises(CredentialsRefused, match="found none"):
        chain(monkeypatch, None)()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (EndpointConnectionError(endpoint_url="https://sts.x"), ProviderUnavailable),
        (ClientError({"Error": {"Code": "AccessDenied"}}, "AssumeRole"), CredentialsRefused),
        (BotoCoreError(), CredentialsRefused),
    ],
)
def test_failed_credentials_are_an_error(monkeypatch, error, kind):
    with pytest.raises(kind, match="no credentials"):
        chain(monkeypatch, error)()


# docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html, "Sample Response"
ROLE = b"""<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials>
<SessionToken>a-session-token</SessionToken><SecretAccessKey>a-secret</SecretAccessKey>
<Expiration>2036-10-24T23:00:23Z</Expiration><AccessKeyId>ASgeIAIOSFODNN7EXAMPLE</AccessKeyId>
</Credentials></AssumeRoleWithWebIdentityResult>
<ResponseMetadata><RequestId>r</RequestId></ResponseMetadata>
</AssumeRoleWithWebIdentityResponse>"""


def test_role_is_assumed_through_proxy_and_ca_bundle_of_the_settings(tmp_path, monkeypatch):
    certificate, key = make_certificate(tmp_path, "IP:127.0.0.1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    def answer(connection):
        with context.wrap_socket(connection, server_side=True) as tls:
            read_request(tls.makefile("rb"))
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(ROLE)}\r\nConnection: close\r\n\r\n"
            tls.sendall(head.encode() + ROLE)

    (tmp_path / "token").write_text("a-web-identity")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/a-role")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    seen = []
    with listening(answer) as port, forward_proxy(seen) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"https://127.0.0.1:{port}")
        settings = {"kind": "bedrock", "region": REGION, "proxy": proxy, "ca_bundle": certificate}
        assert aws.credentials(provider_settings(settings))().token == "a-session-token"
    assert [line.split()[:2] for line in seen] == [["CONNECT", f"127.0.0.1:{port}"]]
