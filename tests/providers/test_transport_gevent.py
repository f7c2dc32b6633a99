"""The tests of the transport, run again with gevent's sockets, which the default worker uses: their
cancellation and TLS are implemented differently."""

import subprocess
import sys

from tests.support.server import ROOT

PROGRAM = """
from gevent import monkey

monkey.patch_all()

import sys

import pytest

sys.exit(pytest.main(sys.argv[1:]))
"""
FILES = [
    "test_transport",
    "test_transport_answers",
    "test_transport_stale",
    "test_transport_connect",
    "test_transport_deadline",
    "test_transport_tls",
    "test_large_answers",
]


def test_transport_tests_pass_under_gevent():
    files = [f"tests/providers/{name}.py" for name in FILES]
    options = ["-q", "--no-cov", "-p", "no:cacheprovider", "-p", "no:xdist", "-rf"]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *options, *files],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
