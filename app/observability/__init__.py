"""Logs, metrics, traces and what the console shows live.

Steps of a request do not import this package: `app.factory` gives them its objects, as observers
(`app.exchange`, `app.dispatch.events`). Around requests the server, the console and the commands
use it directly, for instance for the format of gunicorn's log.
"""
