"""The measured state of a deployment: whether it works, and how long its calls take.

* `standing`: the state as a whole, and its lock.
* `circuit_breaker`: when a deployment is ejected or rests, for how long, and when it is probed.
* `recent_calls`: how long its calls take (the average and the p95), and which share of them failed.
* `time_limits`: how long its calls may take, and whether it answers none while other deployments
  do.
* `refusals`: whether its 400s are trusted.
* `call_durations`: how long a call should take for its size, and which size fits a time.
* `unslowed_calls`: how many calls at once it answers as fast as a few.
"""
