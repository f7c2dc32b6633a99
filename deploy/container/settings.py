"""Settings of a proxy in a container: an example. Secrets are files, here and in Kubernetes.

deploy/kubernetes/settings.py is a copy: kustomize reads no file outside of its directory.
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

#: Two servers: the cache's evicts, the limits' must not.
CACHE = {"ttl": 3600, "max_bytes": 256 * 2**20, "url": os.environ.get("CACHE_URL") or None}
LIMITS = {"url": os.environ.get("LIMITS_URL") or None}
if os.environ.get("POSTGRES_HOST"):
    USAGE = {
        "url": f"postgresql+psycopg://proxy:{quote(secret('postgres_password'), safe='')}"
        f"@{os.environ['POSTGRES_HOST']}/proxy",
        "spool": "/var/lib/proxy/spool",
        "keys": True,  # also accept keys of `flask --app wsgi key new NAME`
    }

#: Networks that read /metrics without a key, and proxies whose X-Forwarded-For is trusted.
METRICS = {"allowed": os.environ.get("METRICS_ALLOWED", "127.0.0.0/8").split(",")}
TRUSTED_PROXIES = os.environ.get("TRUSTED_PROXIES", "127.0.0.1").split(",")
