"""Credentials of clouds: fetched, kept fresh, and requests signed with them.

* `refreshing`: credentials that expire, and are fetched again before.
* `aws`: requests signed for AWS.
"""
