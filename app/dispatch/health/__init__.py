"""The measured state of a deployment: whether it works, and how long its calls take.

* `standing`: the state as a whole, and its lock.
* `circuit_breaker`: when a deployment is ejected, rests, and is probed.
* `failure_rate`: the share of its recent calls that failed.
* `latency`: how long its calls take.
* `silence`: whether it answers no calls while other deployments do.
* `refusals`: whether its 400s are trusted.
* `time_limits`: how long its calls may take.
* `call_costs`: how long a call should take for its size, and which size fits a time.
"""
