"""``GET /``."""

from tests.console.visitor import Visitor


def test_root_leads_browsers_to_the_console_and_tells_clients_where_the_api_is():
    visitor = Visitor()
    answer = visitor.get("/")
    assert (answer.status_code, answer.headers["Location"]) == (302, "console")
    for accept in ("application/json", "*/*", ""):
        answer = visitor.get("/", Accept=accept)
        assert (answer.status_code, answer.json["embeddings"]) == (200, "/v1/embeddings")
        assert answer.headers["Vary"] == "Accept"
