"""What tests do with ledgers and their spool."""

import json

from tests.usage.conftest import exchange


def finish_requests(ledger, number=1, **fields):
    for _ in range(number):
        ledger.finished(exchange(**fields), 200)


def files(tmp_path):
    return list((tmp_path / "spool").glob("*"))


def set_aside_entries(tmp_path):
    """The entries of the file with rows that were refused."""
    (path,) = (tmp_path / "spool").glob("*.refused")
    return [json.loads(line) for line in path.read_text().splitlines()]
