"""Which bodies of requests are read: type, length, encoding and number of inputs."""

import io
import json

import pytest
from flask import Response
from werkzeug.test import EnvironBuilder, run_wsgi_app

from tests.api.fake import AUTH, FakeProvider, app_with, ask, error_of


@pytest.mark.parametrize("type_", [None, "application/json", "Application/JSON; charset=utf-8"])
def test_json_content_type_is_optional(client, type_):
    response = client.post(
        "/v1/embeddings", data=b'{"model":"embed","input":"x"}', content_type=type_, headers=AUTH
    )
    assert response.status_code == 200


@pytest.mark.parametrize("type_", ["text/plain", "multipart/form-data", "application/jsonp"])
def test_other_content_type_is_a_415(client, type_):
    response = client.post("/v1/embeddings", data=b"{}", content_type=type_, headers=AUTH)
    error = error_of(response)
    assert (error.status, error.code) == (415, "unsupported_media_type")
    assert error.message == f"Unsupported content type: '{type_}'. Send application/json."


def test_a_compressed_body_is_a_415(client):
    error = error_of(ask(client, headers={**AUTH, "Content-Encoding": "gzip"}))
    assert (error.status, error.message) == (415, "The body must not be compressed.")
    for coding in ("Identity", ""):  # the list of codings may be empty
        assert ask(client, headers={**AUTH, "Content-Encoding": coding}).status_code == 200


def small(monkeypatch):
    return app_with(monkeypatch, FakeProvider(), LIMITS={"body_bytes": 100, "inputs": 3})


def padded(size):
    body = json.dumps({"model": "embed", "input": "x"})
    return body.encode().ljust(size)


def test_body_over_the_limit_is_a_413(monkeypatch):
    client = small(monkeypatch)
    for size, status in ((100, 200), (101, 413), (5000, 413)):
        response = client.post("/v1/embeddings", data=padded(size), headers=AUTH)
        assert response.status_code == status
    error = error_of(response)
    assert error.code == "request_too_large"
    assert error.message == "The request body is larger than the 100 bytes allowed here."


def post_stream(client, data, **environ):
    """POST as a WSGI server does for a body without Content-Length."""
    builder = EnvironBuilder("/v1/embeddings", method="POST", headers=AUTH)
    full_environ = {**builder.get_environ(), "wsgi.input": io.BytesIO(data), **environ}
    pieces, status, headers = run_wsgi_app(client.application, full_environ, buffered=True)
    return Response(pieces, status, headers)


def test_chunked_body_has_the_same_limit(monkeypatch):
    client = small(monkeypatch)
    chunks = {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
    assert post_stream(client, padded(100), **chunks).status_code == 200
    assert post_stream(client, padded(101), **chunks).status_code == 413


def test_body_without_length_and_chunks_is_empty(client):
    error = error_of(post_stream(client, padded(60)))
    assert error.status == 400
    assert "could not parse" in error.message


def test_a_body_that_ends_early_is_a_400(client):
    response = post_stream(client, padded(60), CONTENT_LENGTH="61")
    assert error_of(response).message == "The request body ended early."


def test_a_body_that_cannot_be_read_is_a_400(client):
    class Broken:
        def read(self, *_):
            raise OSError("the client left")

    chunks = {"wsgi.input": Broken(), "wsgi.input_terminated": True}
    error = error_of(post_stream(client, b"", **chunks))
    assert (error.status, error.message) == (400, "The request body could not be read.")


def test_number_of_inputs_is_limited_by_setting(monkeypatch):
    client = small(monkeypatch)
    assert ask(client, input=["x"] * 3).status_code == 200
    error = error_of(ask(client, input=["x"] * 4))
    assert (error.status, error.param) == (400, "input")
