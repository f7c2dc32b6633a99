"""Who asks: a bearer key or a token of an identity provider → `Caller`."""
