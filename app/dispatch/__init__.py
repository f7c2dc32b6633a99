"""Dispatch: many providers behave as one good one.

What happens to a request here, and where to change it::

    request ──► job ──► pool ──► queue ──► sender ──► provider
                 ▲      chooses   slots,    one thread
                 │      one of    what      a call, one
                 │      its       waits     call for all
                 │      deploy-   leaves    attempts of
                 │      ments     together  a batch
                 │                             │
                 └── retry, fail over, hedge ◄─┘ the pool judges: eject, rest, learn

* `dispatcher`: the entry. From settings to pools, from a request to its job.
* `job`: one request, a state machine: its `parts`, each a `part`; `starter`: what starts them.
* `effects`: what follows a change and touches others, done under no lock.
* `retry`: what follows a failure; `verdict`: the error where nothing could be done.
* `timers`: when a call is hedged, or late.
* `pool`: the deployments of one model. Chooses one, and judges what it did.
* `deployment`: what one takes, and how it is called; `standing`: how it has been doing, by `health`
  (a circuit breaker) and `latency`; `quota`: what it may be asked in a minute.
* `batching`: the slots of one provider, and the queue before them; `waiting`: its order;
  `attempt`: what waits there.
* `sender`: the threads; `bisection`: whose fault a refused batch is, and `refused_items`.
* `plan`: expected tokens, and how a request is split; `answer`: how its parts become one again.
* `budget`: how much the proxy may ask by itself; `events`: what it reports.

Only `sender` starts threads, only `deployment` calls providers. All else is told the time and given
its random numbers: the tests simulate hours in seconds. Every number is in `app.config.dispatch`.
"""

from app.dispatch.dispatcher import Dispatcher

__all__ = ["Dispatcher"]
