"""Dispatch: load balancing, batching, retries and fail-over over the deployments of a model.

The path of a request, and the package of each step::

    request ──► job ──► deployments ──► queue ──► sending ──► provider
                 ▲      one is          slots;    one thread
                 │      chosen for      queued    for each
                 │      each attempt    attempts  call; one
                 │                      share     call for
                 │                      a call    each batch
                 │                                   │
                 └── retry, fail over, hedge ◄───────┘ health and quotas are updated

From the top down; each imports only what is below it (except types):

* `drift`: whether deployments still embed as they did when reference vectors were recorded; a
  background task, and no part of a request's path.
* `dispatcher`: the entry. Makes a job for each request; ends it where the client has left, and
  embeds rows again whose deployment is ejected for drift before their answer is complete.
* `one_deployment`: embeds a request on a deployment that an administrator names.
* `pools`: makes the queues and the pools from the settings; their state for operators.
* `job`: one request: its parts, their attempts, retries and hedges, its answer or its error.
* `sending`: the threads that make calls, and pass attempts their results.
* `deployments`: the deployments of a model, which one an attempt is sent to, and what each takes.
* `queue`: the slots of a provider, the attempts that wait for them, and which of these share a
  call.
* `quotas`: the calls and tokens per minute of a deployment, and a worker's share of them.
* `health`: what is measured of a deployment: its failures, its latency, and whether it is ejected.
* `events`: reports calls to metrics, tracing and what the console shows live.

The docstring of each package lists its files.

On the path of a request only `sending.sender` and `sending.paused` start threads (and
`app.tokens.bounded`, for the tokens of long texts), and only `deployments.deployment` calls
providers. All files get the time and the random numbers as arguments, except those of `drift`,
`sending`, `dispatcher`, `pools` and `one_deployment`: so tests simulate hours in seconds. The
settings are in `app.config.sections.dispatch`.
"""

from app.dispatch.dispatcher import Dispatcher

__all__ = ["Dispatcher"]
