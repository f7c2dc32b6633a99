"""Vectors kept: per item, by all that changes a vector."""
