"""Names of workers: those of one host see that one has died."""

import subprocess
import sys

from app.limits.leases.worker_names import has_ended, new_worker_name

PRINT = "from app.limits.leases.worker_names import new_worker_name as new; print(new())"


def test_worker_that_runs_has_not_ended():
    name = new_worker_name()
    assert name != new_worker_name()
    assert not has_ended(name)


def test_worker_of_this_host_that_has_died_has_ended():
    done = subprocess.run([sys.executable, "-c", PRINT], capture_output=True, check=True)
    name = done.stdout.decode().strip()
    assert has_ended(name)
    host, rest = name.split("-", 1)
    assert not has_ended(f"{host[::-1]}x-{rest}")


def test_name_of_another_kind_has_not_ended():
    host = new_worker_name().partition("-")[0]
    names = ["", "w0", host, f"{host}-", f"{host}-x-1", f"{host}-{10**30}-1"]
    assert not any(map(has_ended, names))
