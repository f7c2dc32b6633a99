"""The message of a provider's error is short and has no secrets."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.providers.refusals import clean
from tests.providers.test_refusals import SECRETS


@pytest.mark.parametrize(
    ("message", "cleaned"),
    [
        ("Too long.", "Too long."),
        ("Key k-0123456789abcdef is bad.", "Key [redacted] is bad."),
        ("POST https://eu.internal.example/v1/embeddings failed", "POST [redacted] failed"),
        ("host eu.internal.example:443 is busy", "host [redacted]:443 is busy"),
        ("Incorrect key sk-proj-abcDEF123456.", "Incorrect key [redacted]"),
        ("Incorrect key sk-ab****************wxyz", "Incorrect key [redacted]"),
        ("sent Authorization: Bearer abc.def", "sent Authorization: [redacted]"),
        ("sent authorization: bearer abc.def now", "sent authorization: [redacted] now"),
        ("key AIzaSyA-0123456789abcdefghij_xyz here", "key [redacted] here"),
        ("jina_0123456789abc and pa-abcdef0123", "[redacted] and [redacted]"),
        ("nvapi-abcdef012345 hf_abcdefghij", "[redacted] [redacted]"),
        ("Invalid ya29.a0AfH6SMB-x_y.z token", "Invalid [redacted] token"),
        ("dapi0123456789abcdef0123456789abcdef-2 expired", "[redacted] expired"),
        ("ghp_0123456789abcdefABCD and gho_0123456789", "[redacted] and [redacted]"),
        ("github_pat_11ABCDEFG0_xyz is bad", "[redacted] is bad"),
        ("xai-0123456789abcdefghij is bad", "[redacted] is bad"),
        ("fw_3ZabcDEFghiJKLmnoPQR is bad", "[redacted] is bad"),
        ("tgp_v1_abcDEFghiJKLmnoPQRstu is bad", "[redacted] is bad"),
        ("ABSKQmVkcm9ja0FQSUtleS0xMjM0NTY= is bad", "[redacted] is bad"),
        ("dapi, fw_version and ghost-like", "dapi, fw_version and ghost-like"),
        ("see http://10.0.0.7:8080/health?key=1 now", "see [redacted] now"),
        ("sent Authorization: Basic dXNlcjpwYXNz", "sent Authorization: [redacted]"),
        ("basic dXNlcjpwYXNz is bad", "[redacted] is bad"),
        ("user:pass@db.corp:443 is busy", "[redacted] is busy"),
        ("dial tcp 10.2.3.4:8080: refused", "dial tcp [redacted]: refused"),
        ("internal.corp.example:443 is busy", "[redacted] is busy"),
        ("Key r8_abcdefghijk0123456789 is bad", "Key [redacted] is bad"),
        ("Key vck_abcdefghijklmnop is bad", "Key [redacted] is bad"),
        ("basic authentication failed", "basic authentication failed"),
        ("Basic Authentication failed", "Basic Authentication failed"),
        ("postgres://user:p/w@db/x is down", "[redacted]/x is down"),
        ("ratio 1.5:2 at 10:30, input[0].text:5", "ratio 1.5:2 at 10:30, input[0].text:5"),
        ("two\nlines\r\nand\ttabs", "two lines and tabs"),
        ("ask-me task-force risk-free", "ask-me task-force risk-free"),
        ("", ""),
    ],
)
def test_message_is_passed_on_without_secrets(message, cleaned):
    assert clean(message, SECRETS) == cleaned


def test_long_message_is_cut():
    assert clean("x" * 501, []) == "x" * 500 + "…"
    assert clean("x" * 500, []) == "x" * 500


def test_secret_at_the_cut_is_removed():
    assert "k-0123" not in clean("x" * 495 + SECRETS[0], SECRETS)


@pytest.mark.parametrize(
    "piece", ["eyJ-", "sk-a ", "https://", "Bearer ", "AIza", "a.", "a:", "a", "basic ", "1."]
)
def test_message_of_megabytes_is_read_quickly(piece):
    """A provider may quote an input; the time of the search must not grow quadratically."""
    before = time.thread_time()
    assert len(clean(piece * (2**20 // len(piece)), SECRETS)) <= 501
    assert time.thread_time() - before < 1


def test_secret_at_the_cut_of_a_very_long_message_is_removed():
    assert "k-0123" not in clean("https://" * 999 + SECRETS[0] + " and more" * 9, SECRETS)


@given(st.text(), st.text())
def test_secret_is_removed_at_any_position(before, after):
    shown = clean(f"{before}{SECRETS[0]}{after}", SECRETS)
    assert SECRETS[0] not in shown
    assert "\n" not in shown


def test_host_is_removed_in_any_case():
    """Host names have no case."""
    assert "example" not in clean("Host EU.Internal.Example is busy", SECRETS).lower()
