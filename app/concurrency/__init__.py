"""Deadlines, locks, wakeups, yields and background tasks, for threads and greenlets alike."""
