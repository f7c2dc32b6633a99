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
CARRIED = "@sparticuz/chromium@153"
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome-headless-shell")
UNPACK = """
import chromium from "@sparticuz/chromium";
console.log(JSON.stringify(await chromium.executablePath()));
"""


def run(script: Path, *arguments: str) -> Any:
    """Run a module that can import puppeteer; its first argument is the browser. It prints JSON."""
    executable = _install()
    return _node([script, executable, *arguments])


def _install() -> str:
    """Install missing packages, one process at a time; return the path of the browser."""
    HOME.mkdir(exist_ok=True)
    with (HOME / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (HOME / "node_modules" / "puppeteer-core").exists():
            _npm(DRIVER)
        for name in NAMES:
            if found := shutil.which(name):
                return found
        if not (HOME / "node_modules" / "@sparticuz").exists():
            _npm(DRIVER, CARRIED)
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
    """The packed browser unpacks itself, and what it needs of the system, into TMPDIR."""
    unpacked = HOME / "unpacked"
    unpacked.mkdir(exist_ok=True)
    # A module imports packages beside itself, so the script must be there.
    script = HOME / Path(command[0]).name
    if script != command[0]:
        script.write_bytes(Path(command[0]).read_bytes())
    environment = {**os.environ, "TMPDIR": str(unpacked)}
    if not any(map(shutil.which, NAMES)):
        fonts = (
            HOME / "fonts.conf"
        )  # without a font there is no page; its own configuration names /tmp
        fonts.write_text(f"<fontconfig><dir>{unpacked}/fonts</dir></fontconfig>")
        environment |= {
            "AWS_LAMBDA_JS_RUNTIME": "nodejs22.x",  # which also has the unpacked libraries
            "LD_LIBRARY_PATH": str(unpacked / "al2023" / "lib"),
            "FONTCONFIG_FILE": str(fonts),
        }
    ran = subprocess.run(
        [NODE, script, *map(str, command[1:])],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)
