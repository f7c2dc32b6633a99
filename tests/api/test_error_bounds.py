"""Error responses are short and encodable for any request, and say what is wrong."""

import json

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app import errors
from app.api.answers import error_response
from app.api.json_body import MAX_PASSED_DEPTH
from tests.api.fake import AUTH, FakeProvider, app_with, ask, error_of

ANYTHING = st.text(st.characters(), max_size=1000)  # lone surrogates among it
DEEP = b'{"model": "embed", "input": "x", "task": %b%b}' % (b"[" * 500, b"]" * 500)


def assert_bounded(answer):
    assert len(answer.data) <= errors.MAX_ANSWER_BYTES
    error = error_of(answer)
    assert len(error.message) <= errors.MAX_MESSAGE_LENGTH
    assert error.message.isprintable()
    return error


@given(message=ANYTHING, param=st.none() | ANYTHING, repeated=st.integers(1, 20_000))
def test_error_messages_are_shortened(message, param, repeated):
    for kind in errors.client_errors():
        made = (
            kind(message * repeated, param=param and param * repeated)
            if kind is not (errors.MethodNotAllowed)
            else kind(message * repeated)
        )
        assert len(made.message) <= kind.max_message_length
        assert len(error_response(made).data) <= errors.MAX_ANSWER_BYTES
        assert made.log_message == str(made) == made.message


def test_short_messages_are_unchanged():
    made = errors.BadRequest("Größe: 'ü' ≤ 3", param="größe")
    assert (made.message, made.param) == ("Größe: 'ü' ≤ 3", "größe")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ('{"model": "embed", "input": "x", "%s": 1}' % ("a" * 5_000_000), "a" * 64 + "…"),
        ('{"model": "embed", "input": "x", "\\ud800": 1}', "\N{REPLACEMENT CHARACTER}"),
        ('{"model": "embed", "input": "x", "\\n": 1}', "\N{REPLACEMENT CHARACTER}"),
        ('{"model": "embed", "input": "x", "dimensions": %s}' % ("1" * 4300), "dimensions"),
        (DEEP, "task"),
        ('{"model": "embed", "input": "x", "%s": 1, "%s": 1}' % (("b" * 999,) * 2), "b" * 64 + "…"),
    ],
    ids=["5 MB", "surrogate", "line feed", "4300 digits", "500 levels", "duplicate"],
)
def test_error_names_the_field_without_its_value(client, body, param):
    error = assert_bounded(client.post("/v1/embeddings", data=body, headers=AUTH))
    assert (error.status, error.param) == (400, param)
    assert "1" * 100 not in error.message


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/" + "a/" * 4000, {}, 404),
        ("/v1/models/" + "m" * 8000, AUTH, 404),
        ("/v1/models/" + "\N{GRINNING FACE}" * 2000, AUTH, 404),
        ("/v1/embeddings", {**AUTH, "Content-Type": "a/" + "b" * 5000}, 405),
    ],
)
def test_long_path_is_shortened_in_error(client, path, headers, status):
    assert assert_bounded(client.get(path, headers=headers)).status == status


def test_long_content_type_is_shortened_in_error(client):
    headers = {**AUTH, "Content-Type": "a/" + "b" * 5000}
    answer = client.post("/v1/embeddings", data=b"{}", headers=headers)
    assert assert_bounded(answer).status == 415


@pytest.mark.parametrize(
    ("levels", "status"), [(MAX_PASSED_DEPTH, 200), (MAX_PASSED_DEPTH + 1, 400)]
)
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_nesting_of_passed_fields_is_limited(client, levels, status, opening, closing):
    inner = "1" if opening != "[" else ""
    value = json.loads(opening * levels + inner + closing * levels)
    assert ask(client, task=value).status_code == status


def test_provider_messages_have_their_own_length_limit(client, provider):
    provider.fail = errors.Rejected("word " * 80 + "end")
    answer = ask(client)
    assert error_of(answer).message.endswith("end")
    assert len(answer.data) <= errors.MAX_ANSWER_BYTES


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANYTHING,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANYTHING, inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from(["model", "input", "dimensions", "user", "task", "timeout"]) | ANYTHING


@hypothesis_settings(max_examples=200, deadline=None)
@given(fields=st.dictionaries(NAMES, JSON, max_size=4), cut=st.integers(0, 40))
def test_error_response_to_any_body_is_short(running, fields, cut):
    body = json.dumps({"model": "embed", "input": "x", **fields})
    answer = running.post("/v1/embeddings", data=body[: len(body) - cut], headers=AUTH)
    if answer.status_code != 200:
        assert assert_bounded(answer).status < 500


@pytest.fixture(scope="module")
def running():
    with pytest.MonkeyPatch.context() as patch:
        yield app_with(patch, FakeProvider())
