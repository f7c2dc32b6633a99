"""The share of each worker in the connections that wait, and the counts that workers share."""

import os
import socket
from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.server import balance
from app.server.balance import ConnectionCount, ConnectionCounts, fair_share, waiting_connections
from tests.support.server import eventually

connections = st.integers(0, 5000)


@given(st.lists(connections, min_size=1, max_size=8), connections)
def test_workers_that_accept_their_shares_come_to_have_as_many(before: list[int], waiting: int):
    counts = list(before)
    for worker in cycle(range(len(counts))):
        if not waiting:
            break
        others = counts[:worker] + counts[worker + 1 :]
        accepted = fair_share(waiting, counts[worker], others)
        assert 0 <= accepted <= waiting
        waiting -= accepted
        counts[worker] += accepted
    grown = [after for after, count in zip(counts, before, strict=True) if after > count]
    if grown:
        assert max(grown) <= min(counts) + 1


@given(st.lists(connections, max_size=8), connections, st.integers(1, 5000))
def test_a_worker_with_the_fewest_connections_always_accepts(
    others: list[int], own: int, waiting: int
):
    assert fair_share(waiting, min([own, *others]), others) > 0


@pytest.fixture
def counts() -> list[ConnectionCount]:
    """The counts of two workers that accept."""
    shared = ConnectionCounts()
    first = shared.new(())
    both = [first, shared.new({first.cell})]
    for count in both:
        count.start_accepting()
    return both


def test_a_worker_leaves_connections_to_one_that_has_fewer(counts: list[ConnectionCount]):
    mine, its = counts
    mine.add(4)
    assert (mine.share(2), mine.share(4), mine.share(10)) == (0, 0, 3)
    assert (its.share(2), its.share(4), its.share(10)) == (2, 4, 7)
    mine.add(-4)
    assert mine.share(2) == its.share(2) == 1


def test_a_worker_accepts_some_of_those_that_others_left(counts: list[ConnectionCount]):
    mine, _ = counts
    mine.add(100)
    assert (mine.share(3), mine.share_after_pause(3)) == (0, 2)


def test_a_worker_that_has_stopped_accepting_gets_none(counts: list[ConnectionCount]):
    mine, its = counts
    mine.add(4)
    its.stop_accepting()
    its.add(1)
    assert mine.share(10) == 10
    assert its.share(10) == 10  # it stops, and accepts what waits


def test_counts_are_seen_in_other_processes(counts: list[ConnectionCount]):
    mine, its = counts
    pid = os.fork()
    if not pid:
        its.add(7)
        os._exit(0)
    os.waitpid(pid, 0)
    assert mine.share(7) == 7


def test_more_workers_than_cells_do_not_balance():
    count = ConnectionCounts().new(range(balance.MAX_WORKERS))
    count.start_accepting()
    count.add(9)
    assert count.share(10) == 10


def test_waiting_connections_are_counted():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert waiting_connections(listener) == 0
        clients = [socket.create_connection(listener.getsockname()) for _ in range(3)]
        eventually(lambda: waiting_connections(listener) == 3)
        for client in clients:
            client.close()


def test_waiting_connections_of_a_unix_socket_are_assumed():
    with socket.socket(socket.AF_UNIX) as listener:
        assert waiting_connections(listener) == balance.ASSUMED_WAITING
    with socket.socket() as closed:
        closed.close()
        assert waiting_connections(closed) == balance.ASSUMED_WAITING
