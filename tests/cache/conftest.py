"""Caches of several workers in a real Valkey, and a single flight."""

import time

import pytest

from app.cache.memory import MemoryCache
from app.cache.shared import SharedCache
from app.cache.tiered import TieredCache
from tests.cache.contract import TTL
from tests.cache.flights import Flights
from tests.redis.patience import PATIENT_S
from tests.redis.patience import patient_steps as patient_steps


@pytest.fixture
def make(valkey, redis, patient_steps):
    """Makes shared caches; each stands for one worker."""
    made = []

    def make(ttl=TTL, url=valkey.url, **options):
        made.append(SharedCache(url, ttl, timeout=PATIENT_S, **options))
        return made[-1]

    yield make
    for cache in made:
        cache.close()


@pytest.fixture
def make_tiered(make):
    """Makes caches of both levels; each stands for one worker."""

    def tiered(ttl=TTL, clock=time.monotonic, **options):
        def second(cleared, report):
            return make(ttl, cleared=cleared, report=report, **options)

        return TieredCache(MemoryCache(2**20, ttl, clock), second)

    return tiered


@pytest.fixture
def flights():
    made = Flights()
    yield made
    made.assert_nothing_left()
