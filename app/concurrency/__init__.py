"""Waiting and waking, for threads and greenlets alike."""
