"""A headless Chromium, driven by puppeteer: one that is installed, or the one in an npm package.

@sparticuz/chromium carries the whole browser, packed, for machines that have none: it comes from
the npm registry like the driver, once a virtual environment, into `browser/` of it.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.javascript import NODE, NPM

HOME = Path(sys.prefix) / "browser"
DRIVER = "puppeteer-core@25"
AXE = "axe-core@4"
CARRIED = "@sparticuz/chromium@153"
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome-headless-shell")
UNPACK = """
import chromium from "@sparticuz/chromium";
console.log(JSON.stringify(await chromium.executablePath()));
"""


def run(script: Path, *arguments: str) -> Any:
    """Run a module that can import puppeteer; its first argument is the browser. It prints JSON."""
    executable = install()
    return _node([script, executable, *arguments])


def start(script: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start such a module, which is driven by its standard input and output."""
    return subprocess.Popen(
        [NODE, _beside_packages(script), install(), *arguments],
        env=_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def install() -> str:
    """Install missing packages, one process at a time; return the path of the browser."""
    HOME.mkdir(exist_ok=True)
    with (HOME / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (HOME / "node_modules" / "puppeteer-core").exists():
            _npm(DRIVER)
        if not (HOME / "node_modules" / "axe-core").exists():
            _npm(DRIVER, AXE)
        for name in NAMES:
            if found := shutil.which(name):
                return found
        if not (HOME / "node_modules" / "@sparticuz").exists():
            _npm(DRIVER, AXE, CARRIED)
        unpack = HOME / "unpack.mjs"
        unpack.write_text(UNPACK)
        return _node([unpack])


def _npm(*packages: str) -> None:
    path = f"{NODE.parent}{os.pathsep}{os.environ['PATH']}"
    command = [NODE, NPM, "install", "--no-audit", "--no-fund", "--no-package-lock", *packages]
    ran = subprocess.run(
        [*command, "--prefix", HOME],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert ran.returncode == 0, ran.stderr


def _node(command: list[Any]) -> Any:
    ran = subprocess.run(
        [NODE, _beside_packages(Path(command[0])), *map(str, command[1:])],
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def _beside_packages(script: Path) -> Path:
    """Copy a module to where the packages are: a module imports packages beside itself."""
    copied = HOME / script.name
    if copied != script:
        copied.write_bytes(script.read_bytes())
    return copied


def _environment() -> dict[str, str]:
    """The packed browser unpacks itself, and what it needs of the system, into TMPDIR."""
    unpacked = HOME / "unpacked"
    unpacked.mkdir(exist_ok=True)
    environment = {**os.environ, "TMPDIR": str(unpacked)}
    if any(map(shutil.which, NAMES)):
        return environment
    # Without a font there is no page; its own configuration names /tmp.
    fonts = HOME / "fonts.conf"
    fonts.write_text(f"<fontconfig><dir>{unpacked}/fonts</dir></fontconfig>")
    return environment | {
        "AWS_LAMBDA_JS_RUNTIME": "nodejs22.x",  # which also has the unpacked libraries
        "LD_LIBRARY_PATH": str(unpacked / "al2023" / "lib"),
        "FONTCONFIG_FILE": str(fonts),
    }
