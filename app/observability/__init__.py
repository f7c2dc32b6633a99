"""Logs, metrics and traces. Only `app.factory` imports them; the rest calls observers."""
