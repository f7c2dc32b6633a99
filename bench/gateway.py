"""The proxy under test: its settings file, written for each setup, and its start."""

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.processes import Server, free_port

ROOT = Path(__file__).parent.parent
KEY = "sk-bench"
OTHER_KEY = "sk-other-1"


@dataclass(frozen=True)
class Settings:
    """The varying values of a settings file for the benchmark."""

    provider_port: int = 0
    width: int = 1536
    slots: int | None = None
    """Calls at once that the proxy allows itself; more are merged (None: its own default)."""
    merge: bool = True
    keys: int = 1
    models: int = 1
    deployments: int = 1
    """Deployments of the first model; every further model has one."""
    local: bool = False
    """Whether the embedded model is configured as well."""
    cache_bytes: int = 256 << 20
    max_inputs: int = 2048

    def text(self) -> str:
        """The settings as a Python module."""
        names = [f"upstream-{i}" for i in range(self.deployments)]
        provider: dict = {
            "kind": "openai",
            "base_url": f"http://127.0.0.1:{self.provider_port}/v1",
            "api_key": "sk-upstream",
            "max_inputs": self.max_inputs,
        }
        if self.slots:
            provider["concurrency"] = self.slots
        if not self.merge:
            provider["merge"] = False
        providers: dict = dict.fromkeys(names, provider)
        models = {"bench": self._model(names)}
        models |= {f"bench-{i}": self._model(names[:1]) for i in range(1, self.models)}
        if self.local:
            providers["local"] = {"kind": "local"}
            models["wordllama"] = {
                "dimensions": 256,
                "deployments": [{"provider": "local", "model": "wordllama"}],
            }
        keys = {"bench": _key(KEY)}
        keys |= {f"key-{i}": _key(f"sk-other-{i}") for i in range(1, self.keys)}
        cache = {"ttl": 3600, "max_bytes": self.cache_bytes, "url": None}
        return f"PROVIDERS = {providers}\nMODELS = {models}\nKEYS = {keys}\nCACHE = {cache}\n"

    def _model(self, providers: list[str]) -> dict:
        deployments = [{"provider": name, "model": "bench"} for name in providers]
        return {"dimensions": self.width, "deployments": deployments}


def start(settings: Settings, folder: Path, workers: int, worker_class: str) -> Server:
    """Start the proxy as in deploy/, with these settings."""
    module = folder / "proxy_settings.py"
    module.write_text(settings.text())
    port = free_port()
    env = {
        "PROXY_SETTINGS": str(module),
        "WEB_CONCURRENCY": str(workers),
        "WORKER_CLASS": worker_class,
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "gunicorn", "-c", ROOT / "deploy" / "gunicorn.conf.py",
               "-b", f"127.0.0.1:{port}", "wsgi:app"]  # fmt: skip
    return Server(command, port, folder / "proxy.log", env)


def missing() -> str | None:
    """Return why the proxy cannot be started, or None."""
    wanted = ROOT / "wsgi.py", ROOT / "deploy" / "gunicorn.conf.py"
    return next((f"no {path.relative_to(ROOT)}" for path in wanted if not path.exists()), None)


def _key(secret: str) -> dict:
    return {"sha256": hashlib.sha256(secret.encode()).hexdigest(), "models": ["*"]}
