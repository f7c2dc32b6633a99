"""The threads that make calls to providers.

* `sender`: starts a thread for each call, and takes the results of batches.
* `calls`: makes one call, with its times, events and span; passes attempts their results, and
  releases what an unsent batch has taken.
* `bisection`: isolates the refused request of a batch.
* `background_calls`: calls that take only idle slots, of the check for drift and of
  `app.dispatch.one_deployment`.
* `paused`: the thread that sends attempts once their quota has room again.
"""
