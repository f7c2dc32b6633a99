"""Keys of the settings: stored as digests, compared in constant time."""

import hashlib
import hmac
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.auth import authenticator
from app.auth.authenticator import Keyring, new_key
from app.config import KeySettings
from app.errors import Unauthorized

SECRET = "sk-the-one-and-only"


def settings(name, secret, **options):
    return KeySettings(name, hashlib.sha256(secret.encode()).hexdigest(), **options)


@pytest.fixture
def keyring():
    """Three keys: one that may do everything, one that may do little, and an operator's."""
    return Keyring(
        [
            settings("all", SECRET),
            settings("narrow", "sk-narrow", models=frozenset({"small"})),
            settings("root", "sk-root", admin=True),
        ]
    )


def test_key_identifies_caller_with_rights(keyring):
    everything = keyring.identify(SECRET)
    assert (everything.name, everything.admin) == ("all", False)
    assert everything.may_use("whatever there is")

    narrow = keyring.identify("sk-narrow")
    assert narrow.name == "narrow"
    assert narrow.may_use("small")
    assert not narrow.may_use("large")

    assert keyring.identify("sk-root").admin


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        " ",
        SECRET[:-1],
        SECRET + " ",
        SECRET.upper(),
        hashlib.sha256(SECRET.encode()).hexdigest(),  # the digest is not the key
        "sk-the-one-and-only\x00",
        "ключ",
        "\udcff\udc80",  # bytes that are no UTF-8, as a header may hold them
        "k" * 100_000,
    ],
)
def test_wrong_key_is_refused_and_not_in_the_message(keyring, wrong):
    with pytest.raises(Unauthorized) as caught:
        keyring.identify(wrong)
    assert str(caught.value) == "Incorrect API key provided."


@given(st.text())
def test_random_keys_are_refused(guess):
    with pytest.raises(Unauthorized):
        Keyring([settings("all", SECRET)]).identify(guess)


def test_keyring_without_keys_refuses_all():
    with pytest.raises(Unauthorized):
        Keyring([]).identify(SECRET)


def test_good_and_bad_keys_are_compared_in_constant_time(keyring, monkeypatch):
    compared = []

    def compare(a, b):
        compared.append((len(a), len(b)))
        return hmac.compare_digest(a, b)

    monkeypatch.setattr(authenticator, "hmac", SimpleNamespace(compare_digest=compare))
    keyring.identify(SECRET)
    with pytest.raises(Unauthorized):
        keyring.identify("sk-wrong")
    assert compared == [(32, 32), (32, 32)]


def test_a_new_key_is_long_unique_and_fits_a_header():
    made = [new_key() for _ in range(100)]
    assert len({key for key, _ in made}) == 100
    for key, digest in made:
        assert key.startswith("sk-")
        assert len(key) >= 3 + 43  # 256 bits in base64
        assert set(key[3:]) <= set(
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
        )
        assert digest == hashlib.sha256(key.encode()).hexdigest()


def test_new_key_is_identified_by_its_digest():
    key, digest = new_key()
    assert Keyring([KeySettings("new", digest)]).identify(key).name == "new"


def test_digest_may_be_in_upper_case():
    digest = hashlib.sha256(SECRET.encode()).hexdigest().upper()
    assert Keyring([KeySettings("capital", digest)]).identify(SECRET).name == "capital"
