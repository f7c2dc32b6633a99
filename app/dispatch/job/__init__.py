"""One request: its parts, the attempts to embed them, and its answer or its error.

* `job`: the request, for the threads that call it; has the lock of its state.
* `job_state`: the state machine, which decides what follows from each result; makes the 504 at the
  deadline.
* `parts`: the parts of the request, and the transitions of their states.
* `part`: a part, its states, its attempts and its failures.
* `halving`: the split of a part whose call was refused as too large.
* `joined`: which parts other requests wait for, too.
* `starter`: starts attempts of parts.
* `timers`: when a call is hedged, and when it counts as late.
* `slow_calls`: hedges slow calls, and calls another deployment beside late ones.
* `retry`: the decision after a failed attempt.
* `next_step`: takes the next step of a part, as `retry` decides.
* `verdict`: the error when no deployment could serve.
* `answer`: joins the vectors of parts.
* `call_times`: the calls of the request, and how long it waited in queues and for providers;
  records of them for observers.
* `effects`: actions of the job on other objects, performed after its lock is released.
"""
