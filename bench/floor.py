"""The lower bound of Flask under gunicorn: one route with prepared answers.

It calls no provider, checks nothing and logs nothing. The query string selects the answer:
``?1&base64&1536`` is one base64 embedding of that width.
"""

from flask import Flask, Response, request

from bench.answers import answers

app = Flask(__name__)
_ready: dict[bytes, bytes] = {}


@app.post("/v1/embeddings")
def embeddings() -> Response:
    """Read the body; return the answer that the query string names."""
    request.get_data()
    wanted = request.query_string
    if wanted not in _ready:
        count, encoding, width = wanted.decode().split("&")
        _ready[wanted] = answers(int(width)).body(["x"] * int(count), encoding)
    return Response(_ready[wanted], mimetype="application/json")
