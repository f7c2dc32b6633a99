"""Request bodies that must be refused, and the errors: a table for test_bad_requests."""

import json
from dataclasses import dataclass, field
from typing import Any

GOOD = {"model": "steady", "input": "hello"}
INPUT = "'$.input' is invalid."
NO_MODEL = "you must provide a model parameter"


@dataclass(frozen=True)
class Case:
    """A request and its expected answer; `message` is a part of the message."""

    name: str
    body: Any
    status: int = 400
    param: str | None = None
    message: str = ""
    code: str | None = None
    headers: dict[str, str | None] = field(default_factory=dict)
    path: str = "/v1/embeddings"
    method: str = "POST"

    def __str__(self) -> str:
        return self.name

    @property
    def data(self) -> bytes:
        """The body as it is sent."""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


def wrong(param: str, *values: Any, message: str = "", model: str = "steady") -> list[Case]:
    """Return good requests with one wrong field, one for each value."""
    return [
        Case(
            f"{param}={_short(value)}", {**GOOD, "model": model, param: value}, 400, param, message
        )
        for value in values
    ]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 30 else f"{text[:20]}…({len(text)})"


def no_json(**bodies: bytes) -> list[Case]:
    """Return bodies that are not JSON; their names are in words."""
    return [Case(name.replace("_", " "), body, message="JSON") for name, body in bodies.items()]


def good_but(changed: str) -> bytes:
    """Return a good request whose last brace is replaced."""
    return b'{"model": "steady", "input": "hello"' + changed.encode() + b"}"


MODEL = [
    Case("no model", {"input": "hello"}, 400, "model", NO_MODEL),
    Case("model=null", {"model": None, "input": "hello"}, 400, "model", NO_MODEL),
    *wrong("model", 1, True, ["steady"], {"name": "steady"}),
    *(
        Case(
            f"unknown model {_short(name)}",
            {"model": name, "input": "hello"},
            404,
            None,
            f"The model `{name}` does not exist or you do not have access to it.",
            "model_not_found",
        )
        for name in ("unknown", "Steady", " steady", "steady ", "../steady", "модель", "*")
    ),
]

SHAPES = [
    Case("no input", {"model": "steady"}, 400, "input"),
    *wrong("input", None, 1, 0, 1.5, True, False, {}, {"text": "hello"}),
    *wrong("input", "", [], [""], ["a", ""], [[]], [[1], []], message=INPUT),
    *wrong("input", ["a"] * 8193, [[1]] * 8193, message=INPUT),
    *wrong("input", ["a", 1], [1, "a"], ["a", [1]], [[1], "a"], [1, [1]], [[1], 1], [[1, "a"]]),
    *wrong("input", [None], ["a", None], [[None]], [1, None], [{}], [{"text": "a"}]),
    *wrong("input", [True], [1, False], [[True]], [[1, True]]),
    *wrong("input", [-1], [1, -1], [[-1]], [[1], [2, -3]]),
    *wrong("input", [1.0], [1.5], [[1.0]], [[2, 1.5]], [1e300]),
    *wrong("input", [["a"]], [[["a"]]], [[[1]]], [[[[]]]]),
]

OPTIONS = [
    *(
        Case(
            f"encoding_format={value}",
            {**GOOD, "encoding_format": value},
            400,
            "encoding_format",
            f"Invalid value for 'encoding_format' = {value}. "
            "Supported values: ['float', 'base64'].",
        )
        for value in ("md5", "Float", "BASE64", "float ", "")
    ),
    *wrong("encoding_format", 1, True, ["float"], {}),
    *wrong("dimensions", 0, -1, True, "256", 1.5, 16.0, [], {}),
    *wrong("dimensions", 33, 10**6, 10**30, model="cut"),
    *wrong("dimensions", 31, 4, model="cut-some"),
    *wrong("dimensions", 16, 64, model="uncut"),
    *wrong("dimensions", 100, 512, 32, model="wordllama"),
    *wrong("user", "u" * 257, 1, True, [], {}, ["u"]),
    *wrong("input_type", "passage", "QUERY", "", 1, True, [], {}),
    *wrong("timeout", 0, -1, 3601, "3", True, False, 1.5, 1.0, [], {}, 10**30),
    *wrong("caching", "true", "false", 1, 0, [], {}),
    *wrong("foo", 1, "bar", {}),
    *wrong("Input", "x"),
    *wrong("stream", False),
    *wrong("task", "search"),
    *wrong("__class__", "x"),
    *wrong("поле", "x"),
]

NO_OBJECT = [
    Case(f"a body of {body.decode()}", body) for body in (b"[]", b'"x"', b"1", b"null", b"true")
]

DEEP = 100_000
NO_JSON = no_json(
    nothing=b"",
    blanks=b"  \r\n",
    a_lone_brace=b"{",
    an_end_too_early=b'{"model": "steady", "input": "hel',
    an_end_too_many=good_but("}"),
    a_trailing_comma=good_but(","),
    a_comment=good_but("/* no */"),
    two_documents=good_but("") * 2,
    garbage_behind=good_but("") + b"x",
    a_word=b"hello",
    a_form=b"model=steady&input=hello",
    single_quotes=b"{'model': 'steady', 'input': 'hello'}",
    no_colon=b'{"model" "steady"}',
    a_key_that_is_no_string=b'{1: "steady"}',
    a_line_break_in_a_string=b'{"model": "steady", "input": "a\nb"}',
    a_NUL_in_a_string=b'{"model": "steady", "input": "a\0b"}',
    an_unknown_escape=b'{"model": "steady", "input": "\\x41"}',
    half_an_escape=b'{"model": "steady", "input": "\\u00"}',
    NaN=good_but(', "timeout": NaN'),
    NaN_among_ids=b'{"model": "steady", "input": [1, NaN]}',
    Infinity=good_but(', "timeout": Infinity'),
    minus_Infinity=good_but(', "dimensions": -Infinity'),
    a_leading_zero=good_but(', "timeout": 01'),
    a_plus=good_but(', "timeout": +1'),
    a_hexadecimal=good_but(', "timeout": 0x10'),
    a_bare_point=good_but(', "timeout": 1.'),
    True_with_a_capital=good_but(', "caching": True'),
    invalid_UTF_8=b'{"model": "steady", "input": "\xff\xfe"}',
    half_a_character=b'{"model": "steady", "input": "\xe2\x82"}',
    an_overlong_slash=b'{"model": "steady", "input": "\xc0\xaf"}',
    a_surrogate_in_UTF_8=b'{"model": "steady", "input": "\xed\xa0\x80"}',
    latin_1='{"model": "steady", "input": "é"}'.encode("latin-1"),
    UTF_16=json.dumps(GOOD).encode("utf-16"),
    UTF_16_without_a_mark=json.dumps(GOOD).encode("utf-16-le"),
    UTF_32=json.dumps(GOOD).encode("utf-32"),
    a_byte_order_mark=b"\xef\xbb\xbf" + good_but(""),
    a_zip_file=b"PK\x03\x04" + bytes(100),
    lists_without_end=b"[" * DEEP,
    objects_without_end=b'{"a":' * DEEP,
)

NESTED = [
    Case(
        "an input of lists in lists",
        b'{"model": "steady", "input": %s%s}' % (b"[" * DEEP, b"]" * DEEP),
    ),
    Case("a field of lists in lists", good_but(', "foo": ' + "[" * DEEP + "]" * DEEP)),
    Case("a body of lists in lists", b"[" * DEEP + b"]" * DEEP),
]

SURROGATES = [
    Case(f"a lone surrogate in {place}", good, 400, param)
    for place, param, good in (
        ("input", "input", b'{"model": "steady", "input": "\\ud800"}'),
        ("an item", "input", b'{"model": "steady", "input": ["a", "b \\udfff c"]}'),
        ("user", "user", good_but(', "user": "\\ud83d"')),
        ("two in the wrong order", "input", b'{"model": "steady", "input": "\\ude00\\ud83d"}'),
    )
]

NUMBERS = [
    Case("a timeout of 1e999", good_but(', "timeout": 1e999'), 400, "timeout"),
    Case("a timeout of 1e3", good_but(', "timeout": 1e3'), 400, "timeout"),
    Case("a timeout of 4000 digits", good_but(', "timeout": ' + "9" * 4000), 400, "timeout"),
    Case("a timeout of 5000 digits", good_but(', "timeout": ' + "9" * 5000), 400, message="JSON"),
    Case(
        "an id of 5000 digits",
        b'{"model": "steady", "input": [%s]}' % (b"9" * 5000),
        400,
        message="JSON",
    ),
    Case("a timeout of minus zero", good_but(', "timeout": -0'), 400, "timeout"),
]

TWICE = [
    Case(f"{key} {how}", body, 400, key, key)
    for key, how, body in (
        ("model", "twice", b'{"model": "steady", "model": "embed", "input": "hello"}'),
        ("input", "twice", good_but(', "input": "other"')),
        ("user", "twice", good_but(', "user": "a", "user": "b"')),
        ("timeout", "twice", good_but(', "timeout": 5, "timeout": 5')),
        ("caching", "twice", good_but(', "caching": null, "caching": true')),
        ("input", "and again, escaped", good_but(', "\\u0069nput": "escaped"')),
    )
]

BODIES = [
    *(MODEL + SHAPES + OPTIONS),
    *(NO_OBJECT + NO_JSON + NESTED + SURROGATES + NUMBERS + TWICE),
]

#: Unusual but good requests: they get an embedding.
FINE = [
    *(
        Case(f"{name}=null", {**GOOD, name: None}, 200)
        for name in (
            "encoding_format",
            "dimensions",
            "user",
            "input_type",
            "timeout",
            "caching",
        )
    ),
    Case("all optional fields", {**GOOD, "encoding_format": "float", "user": "u" * 256}, 200),
    Case("the longest timeout", {**GOOD, "timeout": 3600}, 200),
    Case("a query", {**GOOD, "input_type": "query"}, 200),
    Case("a document", {**GOOD, "input_type": "document", "caching": False}, 200),
    Case("a blank", {**GOOD, "input": " "}, 200),
    Case("a line break", {**GOOD, "input": "\n"}, 200),
    Case("a NUL, escaped", {**GOOD, "input": "a\0b"}, 200),
    Case("an emoji, escaped", good_but(', "user": "\\ud83d\\ude00"'), 200),
    Case("an emoji", {**GOOD, "input": "😀"}, 200),
    Case("an empty user", {**GOOD, "user": ""}, 200),
    Case("the id 0", {**GOOD, "input": [0]}, 200),
    Case("as many items as are allowed", {**GOOD, "input": ["a"] * 2048}, 200),
    Case("blanks around", b" \r\n\t" + good_but("") + b"\n", 200),
]
