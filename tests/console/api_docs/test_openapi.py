"""/openapi.json is valid, complete, and agrees with the app."""

import re

import jsonschema_rs
import pytest
from flask import Flask
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from openapi_spec_validator import OpenAPIV31SpecValidator

from app import errors
from app.api.schemas import EmbeddingSchema
from app.config import check
from app.console.api_docs import descriptions as words
from app.console.api_docs import openapi
from app.errors import BadRequest
from app.limits.rules import HEADER_UNITS
from tests.api.fake import AUTH, ask, error_of
from tests.console.api_docs.conftest import CONFIGURED


def test_document_is_valid(document):
    assert document["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(document).validate()


def test_document_is_built_once(client):
    assert client.get("/openapi.json").data == client.get("/openapi.json").data


def test_document_has_every_route(client, document):
    routes = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in client.application.url_map.iter_rules()
        if not rule.endpoint.startswith("console.") or rule.rule.startswith("/console/api/")
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    described = {(p, m) for p, item in document["paths"].items() for m in item}
    assert described == routes
    names = [o["operationId"] for item in document["paths"].values() for o in item.values()]
    assert len(set(names)) == len(names)
    assert all(o["summary"] for item in document["paths"].values() for o in item.values())


@pytest.mark.parametrize("unit", HEADER_UNITS)
def test_headers_of_limits_tell_of_the_limit_with_the_least_remaining(unit):
    for value in ("limit", "remaining", "reset"):
        text, _ = words.HEADERS[f"x-ratelimit-{value}-{unit}"]
        assert text.endswith(f"the limit of {unit} with the least remaining.")


def test_document_has_the_parameters_of_the_usage_report(with_usage):
    operation = with_usage.get("/openapi.json").json["paths"]["/v1/usage"]["get"]
    named = [p["name"] for p in operation["parameters"] if "name" in p]
    assert named == ["since", "timezone", "until", "by"]
    for name in named:
        answer = error_of(with_usage.get(f"/v1/usage?{name}={'?' * 9000}", headers=AUTH))
        assert (answer.status, answer.param) == (400, name)
        assert len(answer.message) <= errors.MAX_MESSAGE_LENGTH


def test_document_has_every_header_of_a_real_answer(client, document):
    usual = {"Content-Type", "Content-Length", "cache-control", "x-content-type-options"}
    described = document["components"]["headers"].keys()
    for answer in (
        ask(client),
        ask(client, caching=True),
        ask(client, headers={}),
        client.get("/x"),
    ):
        assert set(answer.headers.keys()) - usual <= described
    of_embeddings = document["paths"]["/v1/embeddings"]["post"]["responses"]["200"]["headers"]
    assert set(ask(client).headers.keys()) - usual <= of_embeddings.keys()


def test_real_answers_match_the_document(client, document):
    def check_answer(answer, name):
        schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        jsonschema_rs.validate(schema, answer.json)

    for fields in ({}, {"encoding_format": "base64"}):
        check_answer(ask(client, **fields), "EmbeddingResponse")
    auth = {"Authorization": "Bearer sk-proxy-of-the-tests"}
    check_answer(client.get("/v1/models", headers=auth), "ModelList")
    check_answer(client.get("/v1/models/embed", headers=auth), "Model")
    check_answer(client.get("/health/ready"), "Status")
    check_answer(client.get("/health/live"), "Status")
    check_answer(client.get("/no/such/path"), "Error")


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2**33),
    st.floats(allow_nan=False).filter(lambda f: not f.is_integer()),  # 1.0 is not quite 1
    st.text(max_size=3),
    st.sampled_from(["float", "base64", "query", "document", "x" * 256, "x" * 257]),
    st.sampled_from([1, 3600, 3601]),
    st.lists(st.one_of(st.integers(-1, 5), st.text(max_size=2), st.lists(st.integers(0, 9)))),
)


FIELDS = st.sampled_from(sorted(EmbeddingSchema(3).fields))


@hypothesis_settings(max_examples=200, deadline=None)
@given(st.dictionaries(FIELDS, VALUES, max_size=3))
def test_document_allows_what_the_app_accepts(described, changes):
    payload = {"model": "embed", "input": "x", **changes}
    try:
        EmbeddingSchema(3).parse(payload)
        taken = True
    except BadRequest:
        taken = False
    # The app reads null as absent; the document does not say so.
    stated = {name: value for name, value in payload.items() if value is not None}
    assert described.is_valid(stated) == taken


@pytest.fixture(scope="module")
def described():
    app = Flask("x")
    return jsonschema_rs.validator_for(
        openapi.document(app, check(CONFIGURED))["components"]["schemas"]["EmbeddingRequest"]
    )


def test_every_field_is_explained(document):
    fields = document["components"]["schemas"]["EmbeddingRequest"]["properties"]
    assert fields.keys() == words.FIELDS.keys()
    assert all(field["description"] for field in fields.values())


def test_every_described_view_exists(with_usage):
    assert words.ROUTES.keys() <= with_usage.application.view_functions.keys()


def test_view_without_description_uses_its_docstring():
    app = Flask("x")

    @app.get("/new/<int:number>")
    def new(number):
        """Something new.

        More of it.
        """

    @app.get("/silent")
    def silent(): ...

    paths = openapi.document(app, check(CONFIGURED))["paths"]
    assert paths["/new/{number}"]["get"]["summary"] == "Something new."
    assert paths["/silent"]["get"]["summary"] == "silent"
    assert {"401", "404"} < paths["/new/{number}"]["get"]["responses"].keys()


@pytest.mark.parametrize(
    ("models", "example"), [(["wordllama"], "wordllama"), (["secret-project"], "your-model")]
)
def test_examples_name_only_public_models(models, example):
    configured = CONFIGURED["MODELS"]["embed"]
    checked = check({**CONFIGURED, "MODELS": dict.fromkeys([*models, "steady"], configured)})
    found = openapi.document(Flask("x"), checked)
    assert found["components"]["examples"]["two-texts"]["value"]["model"] == example
    assert "secret-project" not in str(found)
