"""Logs, metrics and traces. Only `app.factory` imports them; other packages call observers."""
