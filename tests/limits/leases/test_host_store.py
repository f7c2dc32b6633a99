"""The file in which workers of one server lease slots without a Redis or Valkey."""

import contextlib
import fcntl
import os
import subprocess
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from app.dispatch.queue.leased_slots import LeasedSlotQueue, SlotLeaseRequest
from app.limits.leases import host_store
from app.limits.leases.host_store import HostStore
from app.limits.leases.worker_leases import Leases
from app.limits.leases.worker_names import new_worker_name
from tests.dispatch.parts import attempt, deployment
from tests.support.clock import Clock
from tests.support.server import eventually

ASKED = SlotLeaseRequest(0.0, 1, 0, 8, True, True, False)


@pytest.fixture
def clock(monkeypatch):
    """The clock of the stores, which tests set: no worker is silent for long."""
    now = Clock(1000.0)
    monkeypatch.setattr(host_store, "time", SimpleNamespace(monotonic=now))
    return now


@pytest.fixture(autouse=True)
def patient_close(monkeypatch):
    """Let the end wait for the last exchange as long as a busy machine needs."""
    monkeypatch.setattr(host_store, "CLOSE_TIMEOUT_S", 20.0)


def asked_once(directory, worker, asked=ASKED, provider="p"):
    """Return the answer to one question of a worker, which then goes without a last question."""
    leases = []

    def ask(store, is_due):
        if not leases:
            leases.append(store.exchange(provider, worker, LeasedSlotQueue(8, 2, 1.0), asked))

    store = HostStore(directory, ask)
    store.start()
    eventually(lambda: leases)
    store.close()
    return leases[0]


def test_first_worker_of_a_server_gets_slots_at_once(tmp_path):
    assert asked_once(tmp_path, "a").slots == 8


def test_workers_see_what_others_have(tmp_path, clock):
    asked_once(tmp_path, "a")
    lease = asked_once(tmp_path, "b", replace(ASKED, needed=2))
    assert (lease.slots, lease.entitled, lease.others_lack_slots, lease.members) == (0, 2, True, 2)
    asked_once(tmp_path, "a", replace(ASKED, number=2, kept=6, needed=6))
    assert asked_once(tmp_path, "b", replace(ASKED, number=2, needed=2)).slots == 2
    assert asked_once(tmp_path, "c", provider="another").slots == 8


def test_slots_of_a_worker_that_leaves_are_free(tmp_path):
    asked_once(tmp_path, "a")
    asked_once(tmp_path, "a", replace(ASKED, number=2, is_leaving=True))
    assert asked_once(tmp_path, "b").slots == 8


def test_slots_of_a_worker_that_has_ended_are_free(tmp_path, clock):
    process = subprocess.Popen(["true"])
    name = new_worker_name().split("-")
    name[1] = str(process.pid)
    asked_once(tmp_path, "-".join(name))
    process.wait()
    assert asked_once(tmp_path, "b").slots == 0  # it has just been seen
    clock.now += host_store.MAYBE_ENDED_S + 0.01
    assert asked_once(tmp_path, "c").slots > 0


@pytest.mark.parametrize("content", [b"{", b"[1]", b'[0, 0, {"p": [1]}]', b"[null, 0, {}]"])
def test_no_slot_is_leased_of_a_broken_file_before_workers_have_said_what_they_have(
    tmp_path, clock, content
):
    asked_once(tmp_path, "a")
    (path,) = tmp_path.glob("slots-????????????????")
    path.write_bytes(content + b"\n")
    assert asked_once(tmp_path, "b").slots == 0


def test_worker_does_not_wait_for_the_lock_of_another(tmp_path):
    rounds = []
    store = HostStore(tmp_path, lambda store, is_due: rounds.append(is_due))
    fd = os.open(tmp_path / "slots-lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(fd, fcntl.LOCK_EX)
    store.start()
    eventually(lambda: store._task.runs > 5)
    assert not rounds
    os.close(fd)
    eventually(lambda: rounds)
    store.close()


def test_busy_worker_gets_the_slots_of_an_idle_one(tmp_path):
    queues = [LeasedSlotQueue(8, 2, 1.0) for _ in range(2)]
    with contextlib.ExitStack() as stack:
        for queue in queues:
            leases = Leases(
                "",
                {"p": queue},
                HostStore.exchange,
                lambda name: None,
                lambda do: HostStore(tmp_path, do),
            )
            leases.start()
            stack.callback(leases.close)
        eventually(lambda: [queue.slots for queue in queues] == [4, 4])
        to = deployment(queue=queues[0])
        for _ in range(9):
            queues[0].submit(attempt(to, group=None), time.monotonic())
        eventually(lambda: [queue.slots for queue in queues] == [8, 0])
    assert asked_once(tmp_path, "a").slots == 8  # those that leave return theirs
