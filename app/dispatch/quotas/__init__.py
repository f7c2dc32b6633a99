"""The quota of a deployment: its calls and tokens per minute.

* `quota`: the calls and tokens that a worker may use, and how long a call must wait.
* `quota_window`: the calls and tokens of the last minute.
* `remaining`: what the provider says remains of its limits.
* `leased_quota`: a worker's lease of a quota that all hosts share.
* `lease`: the question for such a lease, and the answer.
* `call_reports`: the calls that a worker reports with that question.
* `shares`: the fixed share of slots and quotas that a worker has without a store for leases.
"""
