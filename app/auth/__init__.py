"""Authentication: a bearer key or an identity provider's token gives a `Caller`."""
