"""Tests of `app.redis`."""
