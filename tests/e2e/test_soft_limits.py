"""Soft limits with the real server: two workers with shared counters warn once."""

import json
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.database.engine import Database
from app.database.migrations import migrate
from app.database.tables import audit_log
from app.observability.metrics import catalog
from tests.support.server import Proxy, eventually
from tests.support.settings import key, model, provider, settings_file
from tests.support.upstream import Upstream
from tests.support.valkey import Valkey

SECRET = "sk-soft-limited"
URL_SECRET = "pass-word-of-the-webhook"


@pytest.fixture(scope="module")
def received() -> Iterator[list]:
    """The messages of the webhook's receiver; the first entry is its address."""
    found: list = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            found.append((self.headers["webhook-signature"], json.loads(body)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found.append(f"http://user:{URL_SECRET}@127.0.0.1:{server.server_port}/")
        yield found
        server.shutdown()


@pytest.fixture(scope="module", params=["gevent", "gthread"])
def proxy(request, received, tmp_path_factory) -> Iterator[Proxy]:
    del received[1:]
    directory: Path = tmp_path_factory.mktemp(request.param)
    url = f"sqlite:///{directory}/usage.db"
    database = Database(url)
    migrate(database.engine)
    priced = model("p")
    priced["deployments"][0]["price_per_million_tokens"] = 1e6  # a dollar a token
    limits = {"tokens_per_day": 40, "warn_at": 0.5}
    with Valkey() as valkey, Upstream() as upstream:
        path = settings_file(
            directory,
            {"p": provider(upstream)},
            {"embed": priced},
            {"soft": {**key(SECRET, "*"), **limits}},
            LIMITS={"url": valkey.url, "timeout": 10},
            USAGE={"url": url, "spool": str(directory / "spool")},
            NOTIFY={"url": received[0], "secret": "secret-of-the-webhook"},
        )
        with Proxy(directory, path, worker_class=request.param, workers=2) as proxy:
            proxy.database, proxy.settings = database, path
            yield proxy
    database.close()


def total(proxy: Proxy, metric: catalog.Metric) -> dict[str, float]:
    lines = proxy.client(None).get("/metrics").text.splitlines()
    pairs = [line.rsplit(" ", 1) for line in lines if line.startswith(metric.samples[0] + "{")]
    return {labels.partition("{")[2][:-1]: float(value) for labels, value in pairs}


def test_two_workers_warn_once_in_log_metrics_and_webhook(proxy, received):
    statuses = [proxy.client(SECRET).embed("embed", "one two").status for _ in range(15)]
    assert statuses == [200] * 15  # 30 tokens of 40, from both workers
    eventually(lambda: len(received) > 1)
    ((signature, event),) = received[1:]
    assert signature.startswith("v1,")
    assert event["type"] == "soft_limit.reached"
    assert (event["data"]["key"], event["data"]["limit"]) == ("soft", "tokens_per_day")
    assert 0.5 <= event["data"]["used_share"] < 0.8
    limit = 'key="soft",limit="tokens_per_day"'
    eventually(lambda: total(proxy, catalog.SOFT_LIMITS) == {limit: 1})
    eventually(lambda: total(proxy, catalog.NOTIFICATIONS).get('result="sent"') == 1)
    said = "soft limit: key 'soft' has used"
    eventually(lambda: said in proxy.stdout() + proxy.stderr())
    log = proxy.stdout() + proxy.stderr()
    assert log.count(said) == 1
    assert URL_SECRET not in log


def test_cost_is_in_the_metrics_by_model_and_key(proxy):
    eventually(lambda: total(proxy, catalog.COST) == {'model="embed"': pytest.approx(30)})
    eventually(lambda: total(proxy, catalog.KEY_COST) == {'key="soft"': pytest.approx(30)})


def test_two_workers_leave_one_audit_row_and_a_reload_another(proxy):
    def rows() -> list[dict]:
        statement = sa.select(audit_log.c.detail).order_by(audit_log.c.id)
        return proxy.database.run(lambda connection: list(connection.scalars(statement)))

    eventually(rows, 60)
    path = proxy.settings
    path.write_text(path.read_text() + '\nBLOCKED_USERS = ["mallory"]\n')
    proxy.process.send_signal(signal.SIGHUP)
    eventually(lambda: len(rows()) > 1, 60)  # the check of the settings, and new workers
    assert len(rows()) == 2
    assert rows()[1]["changed"] == ["BLOCKED_USERS"]
    text = json.dumps(rows())
    assert URL_SECRET not in text
    assert "secret-of-the-webhook" not in text
    assert "mallory" not in text
