"""A visitor of the playground, and what the tests of its page look for."""

import html
import io
import re

from werkzeug.datastructures import FileStorage
from werkzeug.test import encode_multipart

from app.observability.request_record import RequestRecords
from tests.console.visitor import HTML, Visitor
from tests.support.settings import KEY

MARKUP = "<script>alert('x')</script>"
TEXTS = ["one", "two two", MARKUP]
POOR_KEY = "sk-proxy-with-one-request-a-minute"
DEPLOYMENTS = [
    {"provider": "fake", "model": "first"},
    {"provider": "fake", "model": "second", "price_per_million_tokens": 1000},
]


class Log(RequestRecords):
    """Also keeps the exchanges, for tests to look at."""

    def __init__(self, *consumers):
        super().__init__(*consumers)
        self.seen = []

    def finished(self, exchange, status):
        self.seen.append((exchange, status))
        super().finished(exchange, status)

    @property
    def embeddings(self):
        """Key, model, status and items of each request for embeddings."""
        return [
            (e.caller.name, e.request.model if e.request else None, status, e.outcome is not None)
            for e, status in self.seen
            if e.route == "api.embeddings"
        ]


class Player(Visitor):
    """A visitor of the playground, who has logged in."""

    def __init__(self, app, given=KEY):
        super().__init__(app)
        self.log_in(given)
        self._csrf = self.csrf()

    def embed(self, texts=TEXTS, model="embed", **fields):
        data = {"csrf": self._csrf, "model": model, "texts": "\r\n".join(texts), **fields}
        boundary, body = encode_multipart(data)  # in memory: the client's own leaves files open
        media = f"multipart/form-data; boundary={boundary}"
        return self.client.post("/console/playground", data=body, headers=HTML, content_type=media)

    def download(self, page, kind):
        value = html.unescape(re.search(r'name="vectors" value="([^"]*)"', page.text)[1])
        return self.post("/console/playground/download", self._csrf, vectors=value, kind=kind)


def file_of(content, name="a.txt"):
    return FileStorage(io.BytesIO(content), name)


def alert_of(page):
    return html.unescape(re.sub("<[^>]+>", "", re.search('role="alert".*?</p>', page.text)[0]))
