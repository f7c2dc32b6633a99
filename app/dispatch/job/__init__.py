"""One request: its parts, the attempts to embed them, and its answer or its error.

* `job`: the request, for the threads that call it; has the lock of its state.
* `job_state`: the state machine, which decides what follows from each result; makes the 504 at the
  deadline.
* `parts`: the parts of the request, and the transitions of their states.
* `part`: a part, its states, its attempts and its failures; its halves, where its call was refused
  as too large.
* `joined`: which parts other requests wait for, too.
* `starter`: starts attempts of parts.
* `unplaced`: which parts wait because no deployment takes another one now.
* `slow_calls`: when a call is hedged, and when it counts as late; the call that is sent beside it.
* `retry`: what follows a failed attempt.
* `caller_errors`: the error when no deployment could serve.
* `answer`: joins the vectors of parts; the calls of the request, how long it waited in queues and
  for providers, and records of them for observers.
* `context`: the values of the request that all files here use, the flow in which its parts wait,
  and the effects of the job on other objects, which are performed after its lock is released.
"""
