"""What a request becomes, and how an error quotes it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain import Caller, EmbeddingRequest, Flow
from app.errors import BadRequest
from tests.api.parsing import TYPES, parse, refusal, schema
from tests.support.cost import calls_of


def test_missing_fields_have_defaults():
    assert parse() == EmbeddingRequest(
        "m", ["x"], "float", None, None, None, timeout=600, caching=False, passed={}
    )


def test_every_field_is_read():
    request = parse(
        input=["a", "b"],
        encoding_format="base64",
        dimensions=3,
        user="u",
        input_type="query",
        timeout=7,
        caching=True,
        service_tier="flex",
    )
    flow = Flow(tier="flex")
    expected = EmbeddingRequest("m", ["a", "b"], "base64", 3, "u", "query", 7, True, flow=flow)
    assert request == expected


@pytest.mark.parametrize(
    ("fields", "flow"),
    [
        ({}, Flow("ingest", 3.0, "flex")),
        ({"service_tier": None}, Flow("ingest", 3.0, "flex")),
        ({"service_tier": "auto"}, Flow("ingest", 3.0, "flex")),
        ({"service_tier": "default", "user": "u"}, Flow("ingest", 3.0, "default")),
        ({"service_tier": "priority"}, Flow("ingest", 3.0, "priority")),
    ],
)
def test_flow_is_of_the_key_and_of_the_tier_asked_for(fields, flow):
    caller = Caller("ingest", share=3.0, service_tier="flex")
    request, _ = schema.parse({"model": "m", "input": "x", **fields}, caller=caller)
    assert request.flow == flow


@pytest.mark.parametrize(("user", "own"), [("u", "u"), (None, ""), ("", "")])
def test_flow_has_the_user_where_the_key_is_fair_to_users(user, own):
    caller = Caller("chat", fair_users=True)
    request, _ = schema.parse({"model": "m", "input": "x", "user": user}, caller=caller)
    assert request.flow == Flow("chat", user=own)


@pytest.mark.parametrize(
    "name",
    [
        *("encoding_format", "dimensions", "user", "input_type", "timeout", "caching"),
        *("service_tier", "whatever"),
    ],
)
def test_null_means_absent(name):
    assert parse(**{name: None}) == parse()


def test_quoted_value_is_short_and_encodable():
    message, _ = refusal(encoding_format="\ud800" * 1000)
    assert len(message) < 200
    message.encode()


def test_model_in_path_has_precedence():
    request, _ = schema.parse({"model": "body", "input": "x"}, "path")
    assert request.model == "path"
    assert schema.parse({"input": "x"}, "path")[0].model == "path"


def test_unknown_fields_cost_no_calls():
    """A body of two million of them would stop the event loop of a worker for seconds."""

    def calls(number):
        payload = {"model": "m", "input": "x", **{f"x{i}": i for i in range(number)}}
        return calls_of(lambda: schema.parse(payload))

    assert calls(1000) == calls(1)


def test_unknown_fields_are_returned_as_extra():
    request, extra = schema.parse({"model": "m", "input": "x", "task": {"a": [1]}, "no": None})
    assert extra == {"task": {"a": [1]}}
    assert request.passed == {}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from([*TYPES, "input", "other"]), json_values))
def test_any_json_is_a_request_or_a_400_naming_a_field(payload):
    refused = None
    try:
        request, _ = schema.parse(payload)
    except BadRequest as error:
        refused = error
    if refused:
        assert refused.param in {*TYPES, "input"}
        refused.message.encode()
        return
    assert request.items
    assert all(request.items)
    assert len({type(item) for item in request.items}) == 1
    assert 1 <= request.timeout <= 3600
