"""Lists of the last requests: of the right key, in the right order, bounded."""

from hypothesis import given
from hypothesis import strategies as st

from app.errors import BadRequest
from app.observability.live.lists import MAX_ROWS, ROW, SHOWS, choose
from app.observability.live.observer import Live
from tests.observability.live.conftest import Calendar, FixedPrices, exchange, finish


def end(live, request_id, **fields):
    error = fields.get("error")
    finish(live, exchange(request_id, **fields), 200 if error is None else 400)


def ids(live, show="newest", key=None):
    return [row["id"] for row in live.last(show, key)["data"]]


def test_newest_are_first(live, clock):
    for number in range(MAX_ROWS + 5):
        end(live, f"r{number}")
        clock.now += 1
    assert ids(live) == [f"r{n}" for n in reversed(range(5, MAX_ROWS + 5))]


def test_failed_are_those_with_an_error(live, clock):
    end(live, "good")
    for name in ("first", "second"):
        end(live, name, error=BadRequest("no"))
        clock.now += 1
    assert ids(live, "failed") == ["second", "first"]


def test_slowest_are_first(live):
    for name, seconds in (("a", 3), ("b", 9), ("c", 6)):
        end(live, name, seconds=seconds)
    assert ids(live, "slowest") == ["b", "c", "a"]


def test_key_sees_its_own_requests_only(live):
    end(live, "mine", key="a")
    end(live, "theirs", key="b")
    end(live, "nobody's", key=None, error=BadRequest("no"))
    for show in SHOWS:
        assert set(ids(live, show, "a")) <= {"mine"}
    assert set(ids(live)) == {"mine", "theirs", "nobody's"}


def test_ended_workers_requests_are_listed(tmp_path, clock):
    def worker():
        return Live(FixedPrices(), Calendar("day"), tmp_path, clock)

    ended = worker()
    end(ended, "before")
    ended.stop()
    clock.now += 1
    live = worker()
    end(live, "after")
    rows = live.last("newest", None)["data"]
    assert [row["id"] for row in rows] == ["after", "before"]
    assert all(tuple(row) == ROW for row in rows)


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "key": st.sampled_from(["a", "b", None]),
            "code": st.sampled_from([None, "upstream_error"]),
            "started_at": st.floats(0, 1e9),
            "total_ms": st.floats(0, 1e6),
        }
    ),
    max_size=150,
)


@given(ROWS, ROWS, st.sampled_from(SHOWS), st.sampled_from(["a", None]))
def test_chosen_of_workers_are_chosen_of_all(first, second, show, key):
    """Each worker chooses of its own, so what is chosen of these must be what all would give."""
    by = "total_ms" if show == "slowest" else "started_at"
    together = choose([*choose(first, show, key), *choose(second, show, key)], show, key)
    assert [row[by] for row in together] == [r[by] for r in choose([*first, *second], show, key)]
