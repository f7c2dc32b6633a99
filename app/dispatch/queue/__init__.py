"""The queue of a provider: its slots, and the attempts that wait for them.

* `slot_queue`: takes attempts, and chooses the next batch.
* `slots`: how many slots there are, how many are free, what waits for them, and how fast it leaves;
  has the lock of the queue.
* `leased_slots`: a worker's lease of the slots of all workers; the question for it, and the answer.
* `adaptive`: measures the number of slots where it is "auto".
* `attempt`: an attempt, its states and its result.
* `attempts`: all attempts at the provider; makes every change of their states.
* `batch`: attempts that share a call, which may start before all that arrived was read.
* `merging`: which attempts share a call.
* `waiting`: the order of the queue.
* `queued_flow`: fair queueing among keys, and among the end users of a key or the sizes of its
  requests.
* `tier_credits`: which service tier is next.
* `leaving`: which attempts may leave now.
* `full_queue`: which attempt a full queue drops, and the jobs that wait until it has room.
"""
