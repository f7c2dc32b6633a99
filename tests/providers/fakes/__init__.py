"""Strict fake providers on real sockets, one for each wire format.

They are as strict as the real provider: they check the key and their limits, refuse unknown fields
and nulls, and answer and refuse in the provider's own format.
"""
