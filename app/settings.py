"""The default settings. Copy what you want to change into a file of your own and name that file in
``PROXY_SETTINGS``: each name it defines replaces the one here, whole.

With nothing set but ``ALPHANEURAL_API_KEY`` the proxy serves the embedded model ``wordllama``, and
where ``OPENAI_API_KEY`` is set too, OpenAI's three embedding models. Check a file before using it:
``flask --app wsgi check-settings``. Never write a secret into it that the environment can hold.
"""

import hashlib
import os

#: Who embeds. "kind" names the wire format (docs/providers.md); the rest depends on it. Optional
#: for each: "timeout" (seconds one attempt may take, default 60), "connect_timeout" (seconds,
#: default 5), "max_inputs" and "max_tokens" (of one call), "concurrency" (calls at once, default
#: 64), "proxy" (URL of an egress proxy), "ca_bundle" (path of a PEM file), "headers" (sent with
#: every call).
PROVIDERS = {"local": {"kind": "local"}}

#: What clients may ask for, by the name they use. "dimensions" is the width of a vector;
#: "matryoshka" says that its first values are a vector too (True, or the widths that are allowed).
#: Every deployment of a model must serve the same vector space.
MODELS = {
    "wordllama": {
        "dimensions": 256,
        "matryoshka": [64, 128, 256],  # the widths it was trained for
        "deployments": [{"provider": "local", "model": "l2_supercat"}],
    },
}

if os.environ.get("OPENAI_API_KEY"):
    PROVIDERS["openai"] = {
        "kind": "openai",
        "base_url": "https://api.openai.com/v1",
        "api_key": os.environ["OPENAI_API_KEY"],
    }
    MODELS |= {
        name: {"dimensions": width, "deployments": [{"provider": "openai", "model": name}]}
        for name, width in {
            "text-embedding-3-small": 1536,
            "text-embedding-3-large": 3072,
            "text-embedding-ada-002": 1536,
        }.items()
    }

#: Who may ask: a name for the logs → the SHA-256 of the key (hex) and the models it may use.
#: `flask --app wsgi new-key NAME` makes one. Never the key itself.
KEYS = {}
if os.environ.get("ALPHANEURAL_API_KEY"):
    KEYS["default"] = {
        "sha256": hashlib.sha256(os.environ["ALPHANEURAL_API_KEY"].encode()).hexdigest(),
        "models": ["*"],
    }

#: Vectors kept in each worker for requests with `"caching": true`. "ttl" in seconds, "max_bytes"
#: all overhead included, "scope": "shared", or "key" so that no key sees what another has cached.
#: None: caching is not configured.
CACHE = {"ttl": 3600, "max_bytes": 256 * 2**20, "scope": "shared"}

#: "body_bytes" of a request, "inputs" in it, and how many may wait here for a provider's slot.
LIMITS = {"body_bytes": 32 * 2**20, "inputs": 8192, "waiting": 1000}

#: "format": "json" (one object a line, for machines) or "human"; "level": of the `logging` module.
LOGS = {"format": os.environ.get("LOG_FORMAT", "json"), "level": "INFO"}
