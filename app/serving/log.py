"""gunicorn's own log."""

from __future__ import annotations

from typing import Any

from gunicorn import glogging  # type: ignore[import-untyped]


class JsonLogger(glogging.Logger):  # type: ignore[misc]
    """gunicorn's own log as JSON lines, like the app's.

    Not by gunicorn's ``logconfig_dict``: that turns the access log on, whatever ``accesslog`` says.
    """

    def setup(self, cfg: Any) -> None:
        from app.logs import JsonFormatter

        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(JsonFormatter())
