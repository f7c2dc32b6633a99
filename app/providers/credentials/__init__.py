"""Credentials of clouds: fetched, kept fresh, and requests signed with them."""
