"""Deadlines, locks, wakeups, yields and background tasks, for threads and greenlets alike.

* `deadline`: a time by which work must end.
* `locks`: the lock of state that is only read and written under it, never during I/O; how a
  request waits, and is woken.
* `yielding`: lets other requests go on during long computations.
* `periodic`: background tasks.
* `threads`: runs blocking functions, which callers leave at a time limit; starts a thread that runs
  at once, under gevent, too.
* `peer`: whether a client has closed its connection.
* `shared_files`: files of several processes.
"""
