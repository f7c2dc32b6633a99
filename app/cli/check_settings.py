"""The program that checks settings: it builds the app, without starting it, and says what is wrong.

`app.config.check_process` runs it as a process of its own.
"""

from __future__ import annotations

import json
import os
import sys

from app import config
from app.config.check_process import MAX_LINE
from app.factory import create_app
from app.observability.metrics.directory import VARIABLE
from app.providers import registry


def build() -> list[str]:
    """Build the app in this process, without starting it; the mistakes that this finds."""
    try:
        registry.verify(config.load(registry))
        create_app(start=False)
    except config.SettingsError as error:
        return str(error).splitlines()
    except Exception as error:  # a library's own, of a value that no check of ours knows
        text = " ".join(f"{type(error).__name__}: {error}".split())
        return [f"the app cannot be built with these settings: {text}"[:MAX_LINE]]
    return []


def main() -> None:
    """Build, write the verdict to the descriptor that the first argument names, and end."""
    os.environ.pop(VARIABLE, None)  # numbers of this process are not the server's
    verdict = json.dumps(build()).encode()
    os.write(int(sys.argv[1]), verdict)
    os._exit(0)  # a library's own threads are not waited for


if __name__ == "__main__":
    main()
