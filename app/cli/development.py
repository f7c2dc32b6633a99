"""``make run``: serve on loopback with defaults for development, unsafe in production."""

from __future__ import annotations

import os
import sys

from app.console.start import CODE_VARIABLE, new_code

KEY = "sk-local-development"


def main() -> None:
    """Replace this process by gunicorn. Environment variables take precedence over the defaults."""
    environment = {"LOG_FORMAT": "human", "WEB_CONCURRENCY": "1", **os.environ}
    if "ALPHANEURAL_API_KEY" not in environment and "PROXY_SETTINGS" not in environment:
        environment["ALPHANEURAL_API_KEY"] = KEY
        print(f"No key is set: use {KEY}, which is for this machine alone.", flush=True)
    command = [sys.executable, "-m", "gunicorn", "-c", "deploy/gunicorn.conf.py"]
    bind = f"127.0.0.1:{environment.get('PORT') or 8000}"
    code, environment[CODE_VARIABLE] = new_code()
    link = f"http://{bind}/console/login?next=playground&code={code}"
    print(f"See vectors in the console, once and for 15 minutes: {link}", flush=True)
    os.execve(sys.executable, [*command, "-b", bind, "wsgi:app"], environment)  # noqa: S606 - fixed words, no shell


if __name__ == "__main__":
    main()
