"""Deadlines, locks, wakeups, yields and background tasks, for threads and greenlets alike.

* `deadline`: a time by which work must end.
* `wakeup`: how a request waits, and is woken.
* `locks`: the lock of state that is only read and written under it, never during I/O.
* `yielding`: lets other requests go on during long computations.
* `periodic`: background tasks.
* `native_threads`: runs blocking functions, which callers leave at a time limit.
* `start_now`: starts a thread that runs at once, under gevent, too.
* `peer`: whether a client has closed its connection.
* `shared_files`: files of several processes.
"""
