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
from pathlib import Path
from typing import Any

from app.config.check_process import mistakes
from app.config.overlay import KEPT_FD  # names the settings' text that is kept for the workers
from app.observability.metrics import directory


def usable_cores() -> int:
    """The cores this process may use: its affinity, and the CPU quota of its container."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(cores, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no cgroup v2, or no quota: "max"
        return cores


# Loopback only: TLS, slow clients and the outside are nginx's. In a container: -b 0.0.0.0:8000.
bind = f"127.0.0.1:{os.environ.get('PORT') or 8000}"

# A worker keeps one core busy, and one more worker than cores only adds memory (each has its own
# cache and embedded model) and spreads the cache and the merging thinner.
workers = int(os.environ.get("WEB_CONCURRENCY") or usable_cores())

# gevent is the default because a request costs less CPU with it: gthread's threads contend for the
# interpreter lock (docs/performance.md). gthread is for code that gevent cannot patch.
# It needs nginx in front: a client that sends half a head, or drips its body, holds a thread for
# 30 s and more, so that as many of them as there are threads stop a worker that they can reach
# (docs/operations.md). Clients that are refused and stay hold a quarter of the threads at the most.
WORKER_CLASSES = {"gevent": "app.server.GeventWorker", "gthread": "app.server.ThreadWorker"}
worker_class = os.environ.get("WORKER_CLASS") or "gevent"
worker_class = WORKER_CLASSES.get(worker_class, worker_class)

# A request waits for its provider nearly all the time, so many fit: connections for gevent, where
# one costs a greenlet; threads for gthread, where each request in flight takes one.
worker_connections = 4000
threads = 128
backlog = 2048  # connections that wait for a worker, also while all of them are being replaced

# Longer than nginx keeps an idle connection (60 s, deploy/nginx.conf): the side that sends requests
# should be the one that closes.
keepalive = 75

# A worker's main loop reports every second whatever its requests do; so this is no limit on them
# (up to 3,600 s), but on how long the whole interpreter may be stuck: a long computation that holds
# the interpreter lock or, under gevent, any that does not yield.
timeout = 120

# SIGTERM and HUP let requests in flight end: the default "timeout" of one is 600 s. The supervisor
# that stops gunicorn has to wait as long: TimeoutStopSec, terminationGracePeriodSeconds.
graceful_timeout = 630

# app.server builds on gunicorn's own parser: a gunicorn_h1c that is installed would go past it.
http_parser = "python"

# The head of a request. A line over its limit is 414, the rest 431.
limit_request_line = 8190
limit_request_fields = 100
limit_request_field_size = 16380  # room for the tokens that gateways put into Authorization

# Only these may say that a request came by https (X-Forwarded-Proto); none may set SCRIPT_NAME.
forwarded_allow_ips = os.environ.get("FORWARDED_ALLOW_IPS") or "127.0.0.1,::1"
forwarder_headers = ""

# A worker's heartbeat and its metrics are files. In memory, since a write to a disk can block.
if os.access("/dev/shm", os.W_OK):  # noqa: S108 - gunicorn makes an unlinked file of mode 0600
    worker_tmp_dir = "/dev/shm"  # noqa: S108 - the same

control_socket_disable = True
accesslog = None  # the app logs a line a request
if os.environ.get("LOG_FORMAT") != "human":
    logger_class = "app.server.JsonLogger"


def take_settings(server: Any) -> list[str]:
    """Check the settings as they are in their file now, and keep its text if they are good.

    Returns the mistakes; if there are any, the text kept before stays. The text is kept in memory
    because a worker may die and be replaced while the file is wrong or half written, and gunicorn
    gives up when a worker cannot start. Workers inherit the descriptor.
    """
    taken = None
    with contextlib.suppress(KeyError, OSError):  # no file, or none to be read: the check says so
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
    """A descriptor of a file that has no name and holds this text."""
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
    # Workers share the limits of providers and keys: `-w` may have changed how many they are.
    os.environ["WEB_CONCURRENCY"] = str(server.cfg.workers)
    if wrong := take_settings(server):
        print(*wrong, sep="\n", file=sys.stderr)
        if server.pidfile is not None:
            server.pidfile.unlink()
        sys.exit(1)
    directory.prepare(server.cfg.worker_tmp_dir)

    def handle_hup() -> None:
        # Not gunicorn's on_reload: it comes too late to keep the old workers, and the new ones
        # would fail to start, upon which gunicorn gives up.
        if wrong := take_settings(server):
            server.log.error("Not reloading, the settings are wrong: %s", " | ".join(wrong))
        else:
            type(server).handle_hup(server)

    def spawn_worker() -> None:
        # Until a new process has handlers of its own, those of the master swallow its signals: a
        # SIGTERM in that moment would be lost, and the master wait for graceful_timeout.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
        try:
            type(server).spawn_worker(server)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)

    server.handle_hup, server.spawn_worker = handle_hup, spawn_worker


def child_exit(server: Any, worker: Any) -> None:
    """Keep the counters of a worker that ended, and remove its gauges."""
    directory.remove_worker_files(worker.pid)


def on_exit(server: Any) -> None:
    """Remove the metrics files of this server."""
    directory.remove()


STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


def post_worker_init(worker: Any) -> None:
    """Let the worker receive signals, which spawn_worker blocked."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)


def raise_descriptors() -> None:
    """Let a worker open as many files as the system allows it; the usual soft limit is 1,024."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
