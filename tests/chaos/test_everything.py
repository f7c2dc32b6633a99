"""All optional services are configured and fail in turn; answers and ledger stay right."""

import signal
import time

import sqlalchemy as sa

from app.database.engine import Database
from app.database.migrations import migrate
from tests.chaos.stack import SECONDS
from tests.dispatch.process import provider_process
from tests.support.server import eventually, free_port
from tests.support.valkey import Valkey

TOKENS_OF_A_TEXT = 2  # of "text 7", as the test provider counts


def sums(url: str) -> tuple[int, int]:
    """The ledger's number of rows with status 200, and the sum of their billed tokens."""
    database = Database(url)
    query = (
        "SELECT COUNT(*), COALESCE(SUM(billed_tokens), 0) FROM usage_requests WHERE status = 200"
    )
    try:
        found = database.run(lambda connection: connection.execute(sa.text(query)).one())
        return int(found[0]), int(found[1])
    finally:
        database.close()


def test_no_request_is_lost_while_providers_and_valkeys_restart(stack, note, tmp_path):
    """Ledger, limits, shared cache and OIDC are configured; the identity provider never answers."""
    url = f"sqlite:///{tmp_path}/usage.db"
    database = Database(url)
    migrate(database.engine)
    database.close()
    oidc = {"issuer": "https://id", "audience": "a"}
    with Valkey() as cache, Valkey() as limits:
        running = stack(
            providers=2,
            limits={"requests_per_minute": 10**6, "tokens_per_day": 10**9, "warn_at": 0.9},
            overlay={
                "CACHE": {"ttl": 60, "max_bytes": 2**20, "url": cache.url},
                "LIMITS": {"url": limits.url},
                "USAGE": {"url": url, "spool": str(tmp_path / "spool")},
                "OIDC": oidc | {"jwks_url": f"http://127.0.0.1:{free_port()}/jwks"},
            },
        )
        faults = 0
        with running.callers(8, caching=True) as load:
            end, process = time.monotonic() + SECONDS, running.providers[0]
            while time.monotonic() < end:
                for valkey in (cache, limits):
                    valkey.kill()
                    time.sleep(1)
                    valkey.start()
                process.kill()
                process.wait()
                running.proxy.process.send_signal(signal.SIGHUP)
                time.sleep(2)
                with provider_process(running.ports[0]) as process:
                    time.sleep(2)
                faults += 4
        expected = load.answered, load.answered * TOKENS_OF_A_TEXT
        eventually(lambda: sums(url)[0] >= load.answered, 30, "every row is in the database")
    note(faults=faults, rows=sums(url)[0], billed=sums(url)[1], **load.seen())
    assert load.lost == []
    assert sums(url) == expected
