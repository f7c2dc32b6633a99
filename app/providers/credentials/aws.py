"""Requests signed for AWS (Signature Version 4): botocore finds the credentials and signs.

Imported only where something is to be signed. Source: docs.aws.amazon.com/IAM/latest/UserGuide/
reference_sigv-create-signed-request.html; botocore's reference, config.Config and session.Session,
read in November 2026.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from botocore import exceptions
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import ReadOnlyCredentials
from botocore.session import Session

from app.config import ProviderSettings
from app.errors import CredentialsRefused, ProviderUnavailable
from app.providers.credentials.refreshing import Refreshing, sendable

#: Seconds. botocore does not say when credentials expire. Asked for them, it renews those that have
#: less than a quarter of an hour left, and hands out none that have less than ten minutes: so they
#: are good for that long, and asked for again in the meantime.
_GOOD_FOR = 600.0


def credentials(
    settings: ProviderSettings, clock: Callable[[], float] = time.time
) -> Callable[[], Any]:
    """A way to get credentials: those in the settings, or what botocore finds around it."""
    access_key = settings.options.get("access_key_id")
    if access_key is not None:
        fixed = ReadOnlyCredentials(access_key, settings.api_key, None)
        return lambda: fixed
    session = _session(settings)

    def fetch() -> tuple[Any, float]:
        try:
            found = session.get_credentials()
            if found is None:
                raise CredentialsRefused("has no credentials of ours: botocore found none")
            frozen = found.get_frozen_credentials()
            for word in (frozen.access_key, frozen.token or "-"):
                sendable(word)
            return frozen, clock() + _GOOD_FOR
        except (exceptions.ConnectionError, exceptions.HTTPClientError) as error:
            raise ProviderUnavailable("gave us no credentials") from error
        except (exceptions.BotoCoreError, exceptions.ClientError) as error:
            raise CredentialsRefused("gave us no credentials") from error

    return Refreshing(fetch, clock=clock).get


def _session(settings: ProviderSettings) -> Session:
    """botocore's, whose clients (of STS and SSO) go by the settings' egress proxy and certificates.

    The addresses that give a machine or a pod its role are plain HTTP, and are reached without.
    """
    session = Session(profile=settings.options.get("profile"))
    if settings.proxy:
        session.set_default_client_config(Config(proxies={"https": settings.proxy}))
    if settings.ca_bundle:
        session.set_config_variable("ca_bundle", settings.ca_bundle)
    return session


def signer(
    service: str, region: str, credentials: Callable[[], Any]
) -> Callable[[str, bytes, Mapping[str, str]], Mapping[str, str]]:
    """Return a function that signs a POST of a URL, a body and headers.

    It returns all headers to be sent, except Host.
    """

    def sign(url: str, body: bytes, headers: Mapping[str, str]) -> Mapping[str, str]:
        request = AWSRequest("POST", url, data=body, headers=dict(headers))
        SigV4Auth(credentials(), service, region).add_auth(request)
        return dict(request.headers.items())

    return sign
