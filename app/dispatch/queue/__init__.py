"""The queue of a provider: its slots, and the attempts that wait for them.

* `batching`: the slots, and the lock of the queue before them; chooses the next batch.
* `slots`: how many slots there are, how many are free, and what waits for them.
* `leased_slots`: a worker's lease of the slots of all workers.
* `slot_lease`: the question for such a lease, and the answer.
* `adaptive`: measures the number of slots where it is "auto".
* `drain_rate`: how fast attempts leave.
* `attempt`: the values in the queue.
* `attempts`: the states of the attempts there.
* `batch`: attempts that share a call.
* `early_start`: whether a batch is sent before all that arrived was read.
* `merging`: which attempts share a call.
* `waiting`: the order of the queue.
* `queued_flow`: fair queueing among keys, and among the end users of a key.
* `tier_credits`: which service tier is next.
* `flows`: the flow of a request without an end user, by its size.
* `leaving`: which attempts may leave now.
* `displacement`: which attempt a full queue drops.
* `room`: the jobs that wait until a full queue has room.
"""
