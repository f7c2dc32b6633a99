"""Timeouts of tests: on a busy machine, each answer of a server may take seconds."""

import contextlib
import time

import pytest

from app.redis import client as module
from tests.support.server import eventually

PATIENT_S = 20.0
_USUAL = {name: getattr(module, name) for name in ("STEP_TIMEOUT_S", "CONNECT_TIMEOUT_S")}


@pytest.fixture(autouse=True)
def patient_steps(monkeypatch):
    """Give redis-py, and probes, more time than a busy machine needs."""
    be_patient(monkeypatch)


@pytest.fixture
def usual_steps(monkeypatch, patient_steps):
    """Give redis-py, and probes, their usual time, after which a server that hangs is left."""
    for name, seconds in _USUAL.items():
        monkeypatch.setattr(module, name, seconds)


def be_patient(monkeypatch):
    for name in _USUAL:
        monkeypatch.setattr(module, name, PATIENT_S)


@contextlib.contextmanager
def leaving_after(client, answers):
    """Let callers leave once their call has so many answers, as if their timeout ended then."""
    wait = client._helpers.wait

    def leave(call):
        eventually(lambda: len(call.answers) >= answers)
        call.deadline = time.monotonic()
        wait(call)

    client._helpers.wait = leave
    yield
    client._helpers.wait = wait
