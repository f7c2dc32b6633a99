"""Stories are bounded in number and in calls, hold no inputs, and are found by their id."""

import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

from app.domain import CallRecord
from app.errors import BadRequest, Unauthorized
from app.observability.live import stories as module
from app.observability.live.stories import MAX_CALLS, MAX_STORIES, MAX_STORIES_WITHOUT_KEY, Story
from tests.observability.live.conftest import SOURCE, T, exchange

CALL = CallRecord(0, 1, SOURCE, 1.0, 1.1, 1.2, "", 1, False, False)


def ids(stories):
    return [story.id for story in stories.all()]


def test_last_thousand_are_kept(live):
    for number in range(MAX_STORIES + 10):
        live.finished(exchange(f"r{number}"), 200)
    assert ids(live.stories) == [f"r{n}" for n in range(10, MAX_STORIES + 10)]


def test_flood_without_key_displaces_no_story_of_a_caller(live):
    live.finished(exchange("mine"), 200)
    for number in range(3 * MAX_STORIES):
        live.finished(exchange(f"r{number}", key=None, error=Unauthorized("no key")), 401)
    assert len(ids(live.stories)) == 1 + MAX_STORIES_WITHOUT_KEY
    (story,) = live.stories.find("mine")
    assert story.status == 200


def test_many_calls_displace_the_oldest_requests(live):
    calls = [tuple(CALL)] * 100
    for number in range(MAX_CALLS // 100 + 5):
        live.finished(exchange(f"r{number}", calls=calls), 200)
    kept = live.stories.all()
    assert sum(len(story.calls) for story in kept) <= MAX_CALLS
    assert kept[-1].id == f"r{MAX_CALLS // 100 + 4}"
    for _ in range(MAX_STORIES):
        live.finished(exchange("without calls"), 200)
    assert live.stories._calls == 0


def test_longest_stories_fit_the_memory(live):
    calls = [tuple(CALL)] * (MAX_CALLS // MAX_STORIES)
    for number in range(MAX_STORIES):
        error = BadRequest(f"{number}" + "ü" * 10_000)
        live.finished(exchange(f"{number}" + "x" * 120, error=error, calls=calls), 400)
    assert len(pickle.dumps([tuple(story) for story in live.stories.all()])) < 4 * 2**20


def test_story_has_neither_inputs_nor_vectors(live):
    live.finished(exchange("r"), 200)
    (values,) = live.stories._kept
    assert "a text" not in repr(values)
    assert "1234" not in repr(values)
    assert sys.getsizeof(values) < 400


def test_same_id_finds_all_newest_first(live, clock):
    for status in (500, 200):
        live.finished(exchange("r"), status)
        clock.now += 1
    assert [story.status for story in live.stories.find("r")] == [200, 500]
    assert live.stories.find("other") == []


def test_values_are_in_the_order_of_the_fields(live):
    one = exchange("r", admitted_at=5.0, space="s", calls=[tuple(CALL)], cached=1)
    one.admitted = True
    live.finished(one, 200)
    (story,) = live.stories.find("r")
    assert story == Story(
        ended_at=T,
        id="r",
        key="a",
        user="someone",
        model="m",
        tier="default",
        space="s",
        status=200,
        code=None,
        side=None,
        message=None,
        items=1,
        tokens=3,
        cached_tokens=1,
        cache="hit",
        attempts=1,
        queue_s=0.1,
        upstream_s=0.5,
        cost=2,
        seconds=story.seconds,
        started=one.started,
        admitted_at=5.0,
        calls=(CALL,),
    )
    assert module.CALLS == -1
    assert Story._fields[-1] == "calls"


def test_messages_are_bounded(live):
    error = BadRequest("x")
    error.log_message = "y" * 10_000
    error.attempts = 2
    live.finished(exchange("r", error=error), 400)
    (story,) = live.stories.find("r")
    assert len(story.message) == module.MAX_MESSAGE_LENGTH
    assert (story.code, story.side, story.attempts) == ("invalid_request_error", "caller", 2)


def test_threads_keep_all_stories(live):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: live.finished(exchange(f"r{n}"), 200), range(900)))
    assert len(set(ids(live.stories))) == 900
    assert live.figures.totals()["requests",] == 900
