"""Other gateways that bench compares with; those that are not installed are skipped."""

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.gateway import ROOT
from bench.load import Load
from bench.processes import ServerOfUnknownPort
from bench.runner import Running, check, started, text
from bench.targets import TARGETS, Setup, Target
from tests.support.server import eventually

PEERS = [target for target in TARGETS if target.peer]
START_S = 90  # LiteLLM imports for 6 s on an idle core


def answers_are_the_providers(one: Running, encoding: str) -> None:
    """Send one text and several, and compare the answers with their vectors."""
    for items in 1, 3:
        request = one.request([text(0, i) for i in range(items)], encoding)
        outcome = Load(one.server.port, [request], 2).run(0)
        assert outcome.samples
        check(outcome, one)


@pytest.mark.timeout(START_S)
@pytest.mark.parametrize("target", PEERS, ids=lambda target: target.name)
def test_a_peer_returns_the_vectors_of_the_provider(target: Target):
    if why := target.missing():
        pytest.skip(why)
    with started(Setup(width=8), [target]) as (running, failures):
        assert not failures
        for encoding in "base64", "float":
            answers_are_the_providers(running[0], encoding)


STAND_IN = f"""#!{sys.executable}
import pathlib, runpy, sys
sys.path.insert(0, {str(ROOT)!r})
config, address = sys.argv[sys.argv.index("--config-file") + 1], sys.argv[-1]
assert "[embedding_models.bench]" in pathlib.Path(config).read_text()
assert sys.argv[-2] == "--bind-address"
sys.argv = ["provider", address.removeprefix("127.0.0.1:"), "--width", "8"]
runpy.run_module("bench.provider", run_name="__main__")
"""
"""A program with the arguments of TensorZero's gateway, which answers as the provider does."""


def test_tensorzeros_stand_alone_gateway_is_started_where_its_path_is_given(tmp_path, monkeypatch):
    binary = tmp_path / "gateway"
    binary.write_text(STAND_IN)
    binary.chmod(0o755)
    monkeypatch.setenv("TENSORZERO_GATEWAY", str(binary))
    target = next(target for target in TARGETS if target.name == "tensorzero")
    assert target.missing() is None
    with started(Setup(width=8), [target]) as (running, failures):
        assert not failures
        answers_are_the_providers(running[0], "base64")


def printing(*lines: str) -> Sequence[object]:
    """Return a command that listens, prints ``lines`` with its port for ``PORT``, and waits."""
    code = f"""
import socket, time
listener = socket.create_server(("127.0.0.1", 0))
for line in {lines!r}:
    print(line.replace("PORT", str(listener.getsockname()[1])), flush=True)
time.sleep(60)
"""
    return sys.executable, "-c", code


def test_port_that_a_server_prints_is_read(tmp_path: Path):
    lines = "provider: http://127.0.0.1:1/v1", "http://127.0.0.1:PORT/openai/v1"
    server = ServerOfUnknownPort(printing(*lines), tmp_path / "log")
    try:
        server.await_port()
        assert server.port > 1
    finally:
        server.stop()


def test_server_that_prints_no_port_did_not_start(tmp_path: Path):
    server = ServerOfUnknownPort(printing("ready"), tmp_path / "log")
    try:
        eventually(lambda: server.log.read_text() == "ready\n")
        with pytest.raises(RuntimeError, match="log did not start: ready"):
            server.await_port(0.1)
    finally:
        server.stop()
