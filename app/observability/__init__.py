"""Logs, metrics, traces and what the console shows live.

Steps of a request do not import this package: `app.factory` gives them its objects, as observers
(`app.exchange`, `app.dispatch.events`). Around requests the server, the console and the commands
use it directly, for instance for the format of gunicorn's log.

* `build`: makes metrics, tracing and live figures, as far as the settings enable them.
* `request_record`: makes the record of each request, for the log and the console.
* `logs`: writes log lines, one for each request.
* `metrics`: metrics for Prometheus.
* `tracing`: spans for OpenTelemetry.
* `live`: what the console shows live.
* `sides`: whose an error is: caller, policy, provider, dependency or proxy.
"""
