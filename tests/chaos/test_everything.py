"""What the proxy leans on fails in turn, under load, with a ledger in PostgreSQL."""

import signal
import time
from collections.abc import Iterator

import pytest

from tests.chaos.callers import TOKENS_OF_A_TEXT
from tests.chaos.stack import SECONDS, Stack
from tests.support.postgres import Postgres


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


def test_all_dependencies_flap_in_turn(stack, note, postgres):
    """Both Valkeys, the database, the identity provider, a provider; and SIGHUP among them."""
    running: Stack = stack(providers=2, url=postgres.url())
    services, process = running.services, running.providers[0]
    faults = kills = 0
    with running.callers(8, caching=True) as load:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            services.identity.is_away = True
            for valkey in (services.cache, services.limits):
                valkey.kill()
                time.sleep(1)
                valkey.start()
            postgres.stop()
            process.kill()
            process.wait()
            running.proxy.process.send_signal(signal.SIGHUP)
            time.sleep(2)
            postgres.start()
            services.identity.is_away = False
            with running.provider(0) as process:
                time.sleep(2)
            faults, kills = faults + 6, kills + 2
    books = running.books.compare(60)
    note(faults=faults, **load.seen(), **books.noted())
    assert load.lost == []
    assert books.differences().keys() <= {"unbilled"}
    assert 0 <= books.unbilled <= kills * load.clients * TOKENS_OF_A_TEXT
