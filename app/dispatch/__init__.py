"""Dispatch: load balancing, batching, retries and fail-over over the deployments of a model.

The path of a request, and the file of each step::

    request ──► job ──► pool ──► queue ──► sender ──► provider
                 ▲      chooses   slots;    one thread
                 │      one       queued    for each
                 │      deploy-   attempts  call; one
                 │      ment      share     call for
                 │                a call    each batch
                 │                             │
                 └── retry, fail over, hedge ◄─┘ health and latency are updated

* `dispatcher`: the entry. Makes the pools from the settings, and a job for each request; ends it
  where the client has left.
* `preparation`: the deployments that can serve a request, and its tokens, before it has a job (504
  where the deadline passes meanwhile); `item_lengths`: whether its texts are within the context of
  the model.
* `job`: one request, and the lock of its state; `job_state`: the state machine, which decides what
  follows from each result; `parts` and `part`: its parts and their states; `joined`: which of them
  other requests wait for, too; `starter`: starts attempts of parts; `slow_calls`: calls another
  deployment beside slow ones.
* `call_times`: the calls of a request, and how long it waited in queues and for providers; records
  of them for observers.
* `effects`: actions of a job on other objects, performed after its lock is released.
* `retry`: the decision after a failed attempt, which `next_step` carries out; `verdict`: the error
  when no deployment could serve.
* `timers`: when a call is hedged, and when it counts as late.
* `pool`: the deployments of one model. Chooses one for each attempt, by `draw`; `ejector`: records
  the results of calls, and ejects failing deployments.
* `deployment`: the limits of one deployment, and the call to it; `quota`: its calls and tokens per
  minute (`quota_window`), `remaining`: what its provider says of them, `leased_quota` (by `lease`
  and `call_reports`): a lease of those of all hosts; `standing`: its measured state, and the lock
  of that: `health` (a circuit breaker), `failure_rate`, `latency`, `silence` and `refusals`
  (whether its 400s are trusted); `widths`: which widths it can return; `time_limits`: how long its
  calls may take; `call_costs`: how long a call should take for its size, and which size fits a
  time.
* `batching`: the slots of one provider, and the lock of the queue before them (`slots`); `shares`:
  how many slots a worker has; `leased_slots` (by `slot_lease`): a lease of the slots of all
  workers; `adaptive`: measures their number where it is "auto"; `attempts`: the states of the
  attempts there; `drain_rate`: how fast they leave; `attempt`: the values in the queue; `batch`:
  attempts that share a call, which `early_start` may send before all that arrived was read.
* `room`: the jobs that wait until a full queue has room.
* `waiting`: the order of the queue, by fair queueing (`queued_flow`) among tiers (`tier_credits`),
  keys, and end users or sizes of requests (`flows`); `leaving`: which may leave now;
  `displacement`: which a full queue drops; `merging`: which share a call.
* `paused`: the thread that sends attempts once their quota has room again.
* `sender`: the threads that make calls; `calls`: one call; `delivery`: passes attempts their
  results; `bisection`: isolates the refused request of a batch; `refused_items`: items that are not
  merged again.
* `token_counts`: a provider's count of tokens, by item.
* `plan`: expected tokens, and the split of a large request; `halving`: the split of a part whose
  call was refused as too large; `answer`: joins the vectors of parts.
* `drift`: whether a deployment agrees with the reference of its space; `drifted_rows`: embeds rows
  of a deployment again that is ejected for drift meanwhile.
* `background_calls`: calls that take only idle slots, of the check for drift and of
  `one_deployment`, which embeds a request on a deployment that an administrator names.
* `report`: the state of a deployment for operators.
* `unpaid`: what the next request of a key pays for attempts whose requests had ended.
* `budget`: bounds the calls that the proxy adds by itself; `events`: reports to metrics, tracing.

Only `sender` and `paused` start threads, only `deployment` calls providers. All files get the time
and the random numbers as arguments, so that tests simulate hours in seconds; except `dispatcher`,
`sender`, `paused`, `calls`, `delivery`, and two whose calls wait for a slot: `background_calls`
and `one_deployment`. The settings are in `app.config.dispatch`.
"""

from app.dispatch.dispatcher import Dispatcher

__all__ = ["Dispatcher"]
