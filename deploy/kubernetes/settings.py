"""Settings of a proxy in a container: an example. Secrets are files, here and in Kubernetes.

deploy/kubernetes/settings.py is a copy: kustomize takes no file from outside of its directory.
"""

import hashlib
import os
from pathlib import Path
from urllib.parse import quote

_SECRETS = Path(os.environ.get("SECRETS_DIRECTORY", "/run/secrets"))


def secret(name: str) -> str:
    return (_SECRETS / name).read_text().strip()


PROVIDERS = {
    "openai": {"kind": "openai", "api_key": secret("openai_api_key")},
    "local": {"kind": "local"},
}
MODELS = {
    "text-embedding-3-small": {
        "dimensions": 1536,
        "deployments": [{"provider": "openai", "model": "text-embedding-3-small"}],
    },
    "wordllama": {
        "dimensions": 256,
        "matryoshka": [64, 128, 256],
        "deployments": [{"provider": "local", "model": "l2_supercat"}],
    },
}
KEYS = {
    "default": {
        "sha256": hashlib.sha256(secret("client_key").encode()).hexdigest(),
        "models": ["*"],
    }
}

#: Two servers: that of the cache evicts what is old, that of the limits must never.
CACHE = {"ttl": 3600, "max_bytes": 256 * 2**20, "url": os.environ.get("CACHE_URL") or None}
LIMITS = {"url": os.environ.get("LIMITS_URL") or None}
if os.environ.get("POSTGRES_HOST"):
    USAGE = {
        "url": f"postgresql+psycopg://proxy:{quote(secret('postgres_password'), safe='')}"
        f"@{os.environ['POSTGRES_HOST']}/proxy",
        "spool": "/var/lib/proxy/spool",
        "keys": True,  # and those of `flask --app wsgi key new NAME`
    }

#: Who may read /metrics without a key, and whose X-Forwarded-For is believed.
METRICS = {"allowed": os.environ.get("METRICS_ALLOWED", "127.0.0.0/8").split(",")}
TRUSTED_PROXIES = os.environ.get("TRUSTED_PROXIES", "127.0.0.1").split(",")
