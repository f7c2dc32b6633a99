"""The forms of ``input``, and the types and ranges of the other fields."""

import pytest

from app.errors import BadRequest
from tests.api.parsing import TYPES, parse, refusal, schema


@pytest.mark.parametrize(
    ("given", "items"),
    [
        ("x", ["x"]),
        (" ", [" "]),  # OpenAI takes white space
        (["x", "y"], ["x", "y"]),
        ([1, 2], [[1, 2]]),
        ([0], [[0]]),
        ([[1], [2, 3]], [[1], [2, 3]]),
        ([2**31 - 1], [[2**31 - 1]]),
        (list(range(9)), [list(range(9))]),  # one item, however many tokens
        (["x"] * 5, ["x"] * 5),
        ("\U0001f600", ["\U0001f600"]),
    ],
)
def test_four_shapes_of_input(given, items):
    assert parse(input=given).items == items


INPUTS = {
    "empty text": ("", "No input may be an empty string."),
    "empty list": ([], "The array must not be empty."),
    "empty text in list": (["x", ""], "No input may be an empty string."),
    "empty tokens": ([[1], []], "No token array may be empty."),
    "only empty tokens": ([[]], "No token array may be empty."),
    "number": (5, "A string or an array was expected, but got an integer."),
    "boolean": (True, "A string or an array was expected, but got a boolean."),
    "object": ({"a": 1}, "A string or an array was expected, but got an object."),
    "decimal": (0.5, "A string or an array was expected, but got a decimal number."),
    "list of booleans": ([True], "Strings or token arrays were expected, but got a boolean."),
    "list of nulls": ([None], "Strings or token arrays were expected, but got null."),
    "list of objects": ([{}], "Strings or token arrays were expected, but got an object."),
    "list of decimals": ([1.0], "Strings or token arrays were expected, but got a decimal number."),
    "text then token": (["x", 1], "Every input must be a string, where the first one is."),
    "text then null": (["x", None], "Every input must be a string, where the first one is."),
    "text then tokens": (["x", [1]], "Every input must be a string, where the first one is."),
    "token then text": ([1, "x"], "Every token id must be an integer."),
    "token then boolean": ([1, True], "Every token id must be an integer."),
    "token then decimal": ([1, 2.0], "Every token id must be an integer."),
    "tokens then text": ([[1], "x"], "Texts and token arrays must not be mixed."),
    "tokens then token": ([[1], 1], "Texts and token arrays must not be mixed."),
    "booleans in tokens": ([[False]], "Every token id must be an integer."),
    "nested too deep": ([[[1]]], "Every token id must be an integer."),
    "negative": ([-1], "Every token id must be between 0 and 2147483647."),
    "negative inside": ([[5, -1]], "Every token id must be between 0 and 2147483647."),
    "huge": ([[2**31]], "Every token id must be between 0 and 2147483647."),
    "too many": (["x"] * 6, "At most 5 inputs are allowed, got 6."),
    "too many tokens": ([[1]] * 6, "At most 5 inputs are allowed, got 6."),
    "surrogate": (
        "\ud800",
        "One input cannot be read: it has an unpaired UTF-16 surrogate, which UTF-8 cannot encode.",
    ),
}


@pytest.mark.parametrize("case", INPUTS)
def test_any_other_input_is_refused(case):
    value, why = INPUTS[case]
    assert refusal(input=value) == (f"'$.input' is invalid. {why}", "input")


def test_missing_input_is_refused():
    with pytest.raises(BadRequest) as caught:
        schema.parse({"model": "m"})
    assert (caught.value.message, caught.value.param) == (
        "Missing required parameter: 'input'.",
        "input",
    )
    assert refusal(input=None) == ("Missing required parameter: 'input'.", "input")


@pytest.mark.parametrize("model", [None, "", 0, False, [], {}])
def test_missing_or_empty_model_is_refused(model):
    assert refusal(model=model) == ("you must provide a model parameter", "model")


VALUES = {
    "a string": "text",
    "an integer": 5,
    "a boolean": True,
    "a decimal number": 5.0,
    "an array": ["text"],
    "an object": {"a": 1},
}


@pytest.mark.parametrize(
    ("name", "got"), [(n, got) for n in TYPES for got in VALUES if TYPES[n] != got]
)
def test_wrong_type_is_refused(name, got):
    message = f"Invalid type for '{name}': expected {TYPES[name]}, but got {got} instead."
    assert refusal(**{name: VALUES[got]}) == (message, name)


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("encoding_format", "md5", "Supported values: ['float', 'base64']."),
        ("encoding_format", "FLOAT", "Supported values: ['float', 'base64']."),
        ("encoding_format", "", "Supported values: ['float', 'base64']."),
        ("input_type", "passage", "Supported values: ['query', 'document']."),
        (
            "service_tier",
            "scale",
            "Supported values: ['auto', 'default', 'flex', 'priority'].",
        ),
        ("dimensions", 0, "Must be at least 1."),
        ("dimensions", -5, "Must be at least 1."),
        ("timeout", 0, "Must be between 1 and 3600."),
        ("timeout", 3601, "Must be between 1 and 3600."),
        ("timeout", -(10**50), "Must be between 1 and 3600."),
    ],
)
def test_a_value_out_of_range_is_refused(name, value, why):
    message, param = refusal(**{name: value})
    assert param == name
    assert message == f"Invalid value for '{name}' = {value}. {why}"


@pytest.mark.parametrize("timeout", [1, 3600])
def test_ranges_include_their_ends(timeout):
    assert parse(timeout=timeout).timeout == timeout


@pytest.mark.parametrize("name", ["user", "model"])
def test_names_have_256_characters_at_most(name):
    assert getattr(parse(**{name: "ü" * 256}), name) == "ü" * 256
    assert refusal(**{name: "u" * 257}) == (
        f"Invalid '{name}': string too long. Expected a string with maximum length 256, "
        "but got a string with length 257 instead.",
        name,
    )
    message, param = refusal(**{name: "\udfff"})
    assert param == name
    assert message.startswith(f"Invalid '{name}': it has an unpaired UTF-16 surrogate")
