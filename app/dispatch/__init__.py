"""Dispatch: many providers behave as one good one.

What happens to a request here, and where to change it::

    request ──► Job ──► Pool.choose ──► Gate ──► carrier ──► provider
                 ▲       tiers, then     slots     one thread a call,
                 │       two by weight,  and the   one call for all
                 │       the shorter     queue     tickets that left
                 │       expected wait   before    together
                 │                       them         │
                 └──────── retry, fail over ◄─────────┘ Pool.failed / succeeded:
                           inside the deadline          eject, rest, learn

* `job`, of `part`: one request. Splits what is too large, tries again, gives up.
* `verdict`: what the caller is told when nobody could serve.
* `pool`: the deployments of one model. Chooses one and judges what it did.
* `health`, `latency`, `budget`: what is remembered of a deployment, and what may be spent.
* `gate`: the slots of one provider; what waits leaves together.
* `plan`: how a large request is cut; `answer`: how its parts become one again.
* `flight`: an item being embedded is waited for, not sent again.
* `dispatcher`: the only module here with threads in it; `deployment` the only one that calls.

All but the last two are told the time and given their dice: the tests simulate hours in moments.
"""

from app.dispatch.dispatcher import Dispatcher

__all__ = ["Dispatcher"]
