"""Credentials that expire are fetched once, before their end, in the background."""

import threading
import time

import pytest

from app.concurrency.deadline import CALL_DEADLINE, Deadline
from app.errors import CredentialsRefused, ProviderTimeout, ProviderUnavailable
from app.providers.credentials.refreshing import Refreshing

HOUR = 3600.0


class World:
    """A clock, a server that numbers its tokens, and threads that run at a call of `run`."""

    def __init__(self, life=HOUR, **options):
        self.now = 1_000_000.0
        self.set_back_by = 0.0  # seconds, of the clock
        self.life = life
        self.fetches = 0
        self.failing = None
        self.later = []  # functions of threads
        self.credential = Refreshing(
            self.fetch,
            clock=self.clock,
            monotonic=lambda: self.now,
            rng=lambda: 1.0,
            start=self.later.append,
            **options,
        )

    def fetch(self):
        self.fetches += 1
        if self.failing is not None:
            raise self.failing
        return f"token-{self.fetches}", self.clock() + self.life

    def clock(self):
        return self.now - self.set_back_by

    def run(self):
        """Run the threads."""
        while self.later:
            self.later.pop(0)()

    def get(self):
        return self.credential.get()


def test_only_the_first_use_fetches():
    world = World()
    assert [world.get(), world.get()] == ["token-1", "token-1"]
    assert world.fetches == 1


def test_token_is_replaced_in_the_background_before_it_expires():
    world = World(early=300)
    world.get()
    world.now += HOUR - 301
    world.get()
    assert not world.later
    world.now += 1
    assert world.get() == "token-1"  # at once, without waiting
    assert world.get() == "token-1"
    assert (world.fetches, len(world.later)) == (1, 1)  # one thread for several callers
    world.run()
    assert (world.get(), world.fetches) == ("token-2", 2)


def test_short_token_is_not_replaced_in_its_first_half():
    world = World(life=100, early=300)
    world.get()
    world.now += 49
    world.get()
    assert not world.later
    world.now += 1
    world.get()
    assert len(world.later) == 1


def test_unchanged_token_is_not_fetched_for_each_request():
    """Metadata servers return the same token until shortly before its end."""
    world = World(early=300)
    world.get()
    world.now += HOUR - 200
    world.life = 200  # the same end as before
    world.get()
    world.run()
    world.get()
    assert not world.later
    world.now += 100
    world.get()
    assert len(world.later) == 1


def test_token_without_expiry_is_fetched_once():
    world = World(life=float("inf"))
    world.get()
    world.now += 1e9
    assert world.get() == "token-1"
    assert not world.later


def test_failed_refresh_keeps_the_token_and_backs_off():
    world = World(early=300)
    world.get()
    world.now += HOUR - 300
    world.failing = OSError("no route to https://sts.example")
    pauses = []
    for _ in range(9):
        before = world.now
        while not world.later:
            assert world.get() == "token-1"
            world.now += 0.5
        world.run()
        pauses.append(world.now - before)
    # Tried after 0, 1, 2, 4 … seconds, never after more than a minute (and half a second, since the
    # clock of this test goes by halves).
    assert pauses == pytest.approx([0.5, 1, 2, 4, 8, 16, 32, 60, 60], abs=1)
    world.failing = None
    world.now += 60
    world.get()
    world.run()
    assert world.get() == f"token-{world.fetches}"


def test_token_is_fetched_again_after_any_number_of_failures():
    """A pause that doubles with each failure has no float after 1,024 of them: half a day."""
    world = World(life=100 * HOUR, early=50 * HOUR)
    world.get()
    world.now += 50 * HOUR
    world.failing = OSError("no route to https://sts.example")
    for _ in range(1100):
        world.now += 60
        world.get()
        world.run()
    assert world.fetches == 1101
    world.failing = None
    world.now += 60
    world.get()
    world.run()
    assert world.get() == "token-1102"


def test_error_of_the_first_fetch_is_raised_and_not_retried_at_once():
    world = World()
    world.failing = CredentialsRefused("gave us no token")
    raised = []
    for _ in range(3):
        with pytest.raises(CredentialsRefused, match="gave us no token") as error:
            world.get()
        raised.append(error.value)
    assert world.fetches == 1
    assert (
        len(set(map(id, raised))) == 3
    )  # one for each caller: they are raised in different threads
    world.failing = None
    world.now += 1
    assert world.get() == "token-2"


def test_expired_token_is_never_returned():
    world = World()
    world.get()
    world.failing = RuntimeError("secret-token")
    world.now += HOUR
    with pytest.raises(ProviderUnavailable) as error:
        world.get()
    assert "secret" not in error.value.message
    assert isinstance(error.value.__cause__, RuntimeError)


def test_token_is_replaced_before_it_expires_after_the_clock_was_set_back():
    world = World(early=300)
    world.get()
    world.now += HOUR / 2
    world.set_back_by = HOUR
    assert world.get() == "token-1"
    world.now += HOUR / 2 - 300
    world.get()
    world.run()
    assert world.get() == "token-2"
    world.now += HOUR
    assert world.get() == "token-3"  # and never returned once it has expired


def test_failed_fetch_is_repeated_soon_after_the_clock_was_set_back():
    world = World()
    world.failing = CredentialsRefused("gave us no token")
    with pytest.raises(CredentialsRefused):
        world.get()
    world.failing = None
    world.set_back_by = HOUR
    world.now += 1
    assert world.get() == "token-2"


def test_token_that_expired_while_the_machine_was_suspended_is_not_returned():
    """The monotonic clock stood still."""
    world = World()
    world.get()
    world.set_back_by = -HOUR
    assert world.get() == "token-2"


def test_expired_token_of_the_server_is_a_failure():
    world = World(life=0)
    with pytest.raises(ProviderUnavailable, match="expired"):
        world.get()


def test_refresh_is_waited_for_after_expiry():
    world = World(early=300)
    world.get()
    world.now += HOUR - 1
    world.get()
    world.now += 1  # it has expired, and the thread has not run yet
    got = []
    waiter = threading.Thread(target=lambda: got.append(world.get()))
    waiter.start()
    world.run()
    waiter.join(20)
    assert got == ["token-2"]
    assert world.fetches == 2


@pytest.mark.parametrize("error", [RuntimeError, MemoryError])
def test_without_threads_token_is_refreshed_in_the_request(error):
    world = World(early=300)
    world.get()

    def refuse(_):
        raise error("can't start new thread")

    world.credential._start = refuse
    world.now += HOUR - 10
    assert world.get() == "token-1"
    assert world.get() == "token-2"


def test_hanging_fetch_ends_the_call_at_its_deadline_or_cancellation():
    over = threading.Event()

    def hang():
        over.wait(60)
        return "token", time.time() + 1000

    credentials = Refreshing(hang)
    start = time.monotonic()
    CALL_DEADLINE.set(Deadline(start + 0.1))
    with pytest.raises(ProviderTimeout):
        credentials.get()
    assert time.monotonic() - start < 10
    cancelled = Deadline(time.monotonic() + 60)
    cancelled.cancel()
    CALL_DEADLINE.set(cancelled)
    with pytest.raises(ProviderTimeout):
        credentials.get()
    over.set()
    CALL_DEADLINE.set(None)
    assert credentials.get() == "token"
