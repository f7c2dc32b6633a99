"""The dispatch of requests in virtual time: an operator tries settings on a load before using them.

* `world`: virtual time, as a discrete-event simulation. Tests of dispatch use it, too.
"""
