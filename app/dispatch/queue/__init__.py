"""The queue of a provider: its slots, and the attempts that wait for them.

* `slot_queue`: takes attempts: each joins an open batch, becomes one in a free slot, or waits; says
  which batch is sent next, and when.
* `slots`: how many slots there are, how many are free, what waits for them, and how fast it leaves;
  has the lock of the queue, and the jobs that wait until a full queue has room.
* `leased_slots`: a worker's lease of the slots of all workers; the question for it, and the answer.
* `adaptive`: measures the number of slots where it is "auto".
* `attempts`: an attempt, its states and its result; makes every change of the states.
* `batch`: attempts that share a call, and whether it starts while others could still join it.
* `waiting`: the order of the queue.
* `fair_queueing`: fair queueing among keys, and among the end users of a key or the sizes of its
  requests; which service tier is next, and which attempt a full queue drops.
* `leaving`: which attempts may leave now, and which of them share a call.
"""
