"""Strict fake providers on real sockets, one for each wire format.

As strict as the provider they stand for: they want the key, refuse fields they do not know and
nulls, hold their limits, and answer and refuse in the provider's own shape.
"""
