"""gunicorn's settings and hooks, used by ``embeddings-proxy serve`` and `deploy/gunicorn.conf.py`.

Read from the environment: PORT, WEB_CONCURRENCY, WORKER_CLASS, FORWARDED_ALLOW_IPS, LOG_FORMAT.
Options on gunicorn's command line override what is here: ``-b 0.0.0.0:8000``.

gunicorn's master imports this before its workers patch the standard library for gevent. Nothing
imported here may import requests, urllib3 or ssl: patched later, their sockets would block.
``embeddings-proxy serve`` imports it once: a new version of this file is used after a restart. The
file in deploy/ reads it again at a SIGHUP.
"""

import contextlib
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from app.config.check_process import mistakes
from app.config.loading import (
    KEPT_FD,
)  # names the descriptor with the settings' text for the workers
from app.console.start import prepare_secret
from app.observability.live import reloads
from app.observability.metrics import directory
from app.server.balance import ConnectionCounts


def usable_cores() -> int:
    """Return the cores this process may use: its affinity, and the CPU quota of its container."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(cores, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no cgroup v2, or no quota: "max"
        return cores


# Loopback only: nginx handles TLS, slow clients and other hosts. In a container: -b 0.0.0.0:8000.
bind = f"127.0.0.1:{os.environ.get('PORT') or 8000}"

# A worker can use one core. More workers than cores only use more memory (each has its own cache
# and embedded model), and make cache hits and merging rarer.
workers = int(os.environ.get("WEB_CONCURRENCY") or usable_cores())

# numpy's threads would only contend with other workers: small matrices take ten times as long.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when a worker imports numpy

# gevent is the default because a request costs less CPU with it: gthread's threads contend for the
# interpreter lock (docs/performance.md). gthread is for code that gevent cannot patch.
# gthread needs nginx in front: a client that sends an incomplete head, or its body byte by byte,
# blocks a thread for 30 s or more, so as many such clients as threads block a worker
# (docs/operations.md). Refused clients that keep sending block at most a quarter of the threads.
WORKER_CLASSES = {"gevent": "app.server.GeventWorker", "gthread": "app.server.ThreadWorker"}
worker_class = os.environ.get("WORKER_CLASS") or "gevent"
worker_class = WORKER_CLASSES.get(worker_class, worker_class)

# A request mostly waits for its provider, so a worker can have many: connections under gevent,
# where each uses a greenlet; threads under gthread, where each request in flight uses one.
worker_connections = 4000
threads = 128
backlog = 2048  # connections that wait for a worker, also while all of them are being replaced

# Longer than nginx keeps an idle connection (60 s, deploy/nginx.conf): the side that sends requests
# should close first.
keepalive = 75

# A worker's main loop reports every second, independent of its requests (up to 3,600 s). So this
# limits how long the whole interpreter may be blocked: by a computation that holds the interpreter
# lock or, under gevent, by one that does not yield.
timeout = 120

# SIGTERM and HUP let requests in flight end: the default "timeout" of one is 600 s. The supervisor
# that stops gunicorn must wait longer: TimeoutStopSec, terminationGracePeriodSeconds.
graceful_timeout = 630

# app.server extends gunicorn's own parser; an installed gunicorn_h1c would replace it.
http_parser = "python"

# The head of a request. A line over its limit is 414, the rest 431.
limit_request_line = 8190
limit_request_fields = 100
limit_request_field_size = 16380  # room for the tokens that gateways put into Authorization

# Peers whose X-Forwarded-Proto is used. No peer may set SCRIPT_NAME.
forwarded_allow_ips = os.environ.get("FORWARDED_ALLOW_IPS") or "127.0.0.1,::1"
forwarder_headers = ""

# Heartbeat and metrics of a worker are files. In memory, because a write to a disk can block.
if os.access("/dev/shm", os.W_OK):  # noqa: S108 - gunicorn makes an unlinked file of mode 0600
    worker_tmp_dir = "/dev/shm"  # noqa: S108 - the same

control_socket_disable = True
accesslog = None  # the app logs a line a request
if os.environ.get("LOG_FORMAT") != "human":
    logger_class = "app.server.JsonLogger"


def take_settings(server: Any) -> list[str]:
    """Check the settings in their file, and keep its text if they are valid.

    Returns the mistakes; if there are any, the text kept before stays. The text is kept in memory
    because a worker may die and be replaced while the file is wrong or half written, and gunicorn
    gives up when a worker cannot start. Workers inherit the descriptor.
    """
    taken = None
    with contextlib.suppress(
        KeyError, OSError
    ):  # a missing or unreadable file: the check reports it
        text = Path(os.environ["PROXY_SETTINGS"]).read_bytes()
        taken = in_memory(text)
    if wrong := mistakes(taken):
        if taken is not None:
            os.close(taken)
        return wrong
    before, server.settings_fd = getattr(server, "settings_fd", None), taken
    os.environ.pop(KEPT_FD, None)
    if taken is not None:
        os.environ[KEPT_FD] = str(taken)
    if before is not None:
        os.close(before)
    return []


def in_memory(text: bytes) -> int:
    """Return a descriptor of a file without name that has this text."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("settings")
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.write(fd, text)
    return fd


def on_starting(server: Any) -> None:
    """Refuse to start with wrong settings, and replace two methods of gunicorn's master."""
    raise_descriptors()
    # Workers share the limits of providers and keys: `-w` may have changed their number.
    os.environ["WEB_CONCURRENCY"] = str(server.cfg.workers)
    if wrong := take_settings(server):
        print(*wrong, sep="\n", file=sys.stderr)
        if server.pidfile is not None:
            server.pidfile.unlink()
        sys.exit(1)
    directory.prepare(server.cfg.worker_tmp_dir)
    prepare_secret()
    server.connection_counts = ConnectionCounts()

    def handle_hup() -> None:
        # Not gunicorn's on_reload: it is too late to keep the old workers. The new ones would fail
        # to start, and gunicorn would exit.
        if wrong := take_settings(server):
            server.log.error("Not reloading, the settings are wrong: %s", " | ".join(wrong))
        else:
            reloads.record(time.time())
            type(server).handle_hup(server)

    def spawn_worker() -> None:
        # Until a new process has its own handlers, those of the master consume its signals: a
        # SIGTERM at that time would be lost, and the master would wait for graceful_timeout.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
        try:
            type(server).spawn_worker(server)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)

    server.handle_hup, server.spawn_worker = handle_hup, spawn_worker


def pre_fork(server: Any, worker: Any) -> None:
    """Give a new worker its count of connections, which all workers see."""
    used = {other.connection_count.cell for other in server.WORKERS.values()}
    worker.connection_count = server.connection_counts.new(used)


def child_exit(server: Any, worker: Any) -> None:
    """Close the connection count of an ended worker; keep its counters, and remove its gauges."""
    if count := getattr(worker, "connection_count", None):
        count.stop_accepting()
    directory.remove_worker_files(worker.pid)


def on_exit(server: Any) -> None:
    """Remove the metrics files of this server."""
    directory.remove()


STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


def post_worker_init(worker: Any) -> None:
    """Let the worker receive signals, which spawn_worker blocked."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)


def raise_descriptors() -> None:
    """Raise a worker's limit of open files to the hard limit; the usual soft limit is 1,024."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
