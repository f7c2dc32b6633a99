"""Limits of keys and their end users: requests, tokens and dollars a minute, day or month."""
