"""Dispatch: load balancing, batching, retries and fail-over over the deployments of a model.

The way of a request, and the file of each step::

    request ──► job ──► pool ──► queue ──► sender ──► provider
                 ▲      chooses   slots;    one thread
                 │      one       queued    for each
                 │      deploy-   attempts  call; one
                 │      ment      share     call for
                 │                a call    each batch
                 │                             │
                 └── retry, fail over, hedge ◄─┘ health and latency are updated

* `dispatcher`: the entry. Makes the pools from the settings, and a job for each request.
* `job`: the state machine of one request; `parts` and `part`: its parts and their states;
  `starter`: starts attempts of parts.
* `effects`: actions of a job on other objects, performed after its lock is released.
* `retry`: the decision after a failed attempt; `verdict`: the error when no deployment could serve.
* `timers`: when a call is hedged, and when it counts as late.
* `pool`: the deployments of one model. Chooses one for each attempt, and ejects failing ones.
* `deployment`: the limits of one deployment, and the call to it; `standing`: its measured state,
  of `health` (a circuit breaker) and `latency`; `quota`: its calls and tokens per minute.
* `batching`: the slots of one provider and the queue before them; `waiting`: the order of the
  queue; `attempt`: the values in the queue.
* `sender`: the threads that make calls; `bisection`: isolates the refused request of a batch;
  `refused_items`: items that are not merged again.
* `plan`: expected tokens, and the split of a large request; `answer`: joins the vectors of parts.
* `drift`: whether a deployment agrees with the reference of its space; calls outside requests.
* `budget`: bounds the calls that the proxy adds by itself; `events`: reports to metrics, tracing.

Only `sender` starts threads, only `deployment` calls providers. All other files get the time and
the random numbers as arguments, so that tests simulate hours in seconds. The settings are in
`app.config.dispatch`.
"""

from app.dispatch.dispatcher import Dispatcher

__all__ = ["Dispatcher"]
