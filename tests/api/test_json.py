"""Request bodies are parsed as strict JSON (RFC 8259)."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.api.json_body import parse_json
from app.errors import BadRequest

COULD_NOT = "We could not parse the JSON body of your request: "


def refusal(body):
    with pytest.raises(BadRequest) as caught:
        parse_json(body)
    return caught.value


BAD = {
    b"": "Expecting value: line 1 column 1 (char 0).",
    b"{": "Expecting property name enclosed in double quotes: line 1 column 2 (char 1).",
    b'{"a": 1} x': "Extra data: line 1 column 10 (char 9).",
    b"{'a': 1}": "Expecting property name enclosed in double quotes: line 1 column 2 (char 1).",
    b'{"a": NaN}': "NaN is not JSON.",
    b'{"a": Infinity}': "Infinity is not JSON.",
    b'{"a": -Infinity}': "-Infinity is not JSON.",
    b'{"a": "\xff"}': "it is not UTF-8.",
    b'\xef\xbb\xbf{"a": 1}': None,  # a byte order mark
    '{"a": 1}'.encode("utf-16"): "it is not UTF-8.",
    b"[" * 100_000: "it is nested too deeply.",
    b'{"a": ' * 100_000: "it is nested too deeply.",
    b'{"a": ' + b"9" * 5000 + b"}": "it has a number with too many digits.",
    b"null": "an object was expected, but got null instead.",
    b"[]": "an object was expected, but got an array instead.",
    b'"x"': "an object was expected, but got a string instead.",
    b"true": "an object was expected, but got a boolean instead.",
    b"1": "an object was expected, but got an integer instead.",
    b"1.5": "an object was expected, but got a decimal number instead.",
    b'{"a": "tab\tinside"}': "Invalid control character at: line 1 column 11 (char 10).",
}


@pytest.mark.parametrize("body", BAD, ids=lambda body: repr(body[:20]))
def test_invalid_json_is_refused_with_a_reason(body):
    error = refusal(body)
    assert error.message.startswith(COULD_NOT)
    assert error.param is None
    if BAD[body]:
        assert error.message == COULD_NOT + BAD[body]


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b'{"input": "a", "input": "b"}', "input"),
        (b'{"a": {"b": 1, "b": 1}}', "b"),
        (b'{"a": 1, "b": 2, "c": 3, "b": null}', "b"),
        (b'{"": 1, "": 2}', ""),
    ],
)
def test_duplicate_field_is_refused_by_name(body, name):
    error = refusal(body)
    assert (error.message, error.param) == (f"Duplicate parameter: {name!r}.", name)


def test_long_duplicate_name_is_shortened_in_error():
    error = refusal(b'{"%b": 1, "%b": 2}' % (b"n" * 10_000, b"n" * 10_000))
    assert len(error.message) < 120
    assert len(error.param) < 80


def test_duplicate_among_many_fields_is_found_quickly():
    """The time is linear in the number of names: 32 MiB of them must not block a worker."""
    names = [*map(str, range(10_000)), "9999"]
    body = ("{" + ",".join(f'"{name}":1' for name in names) + "}").encode()
    start = time.thread_time()
    assert refusal(body).param == "9999"
    assert time.thread_time() - start < 0.3


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@settings(max_examples=40)
@given(st.dictionaries(st.text(), json_values), st.booleans())
def test_every_json_object_round_trips(payload, ascii_only):
    body = json.dumps(payload, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    try:
        body.decode()
    except UnicodeDecodeError:
        assert refusal(body).message == COULD_NOT + "it is not UTF-8."
    else:
        assert parse_json(body) == payload


@given(st.binary())
def test_any_bytes_are_parsed_or_refused(body):
    try:
        assert isinstance(parse_json(body), dict)
    except BadRequest as error:
        json.dumps(error.message).encode()
