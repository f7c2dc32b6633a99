"""Dispatch in virtual time: an operator tries settings on a load before using them.

1. `load`: reads the file that describes the load, and the settings that it is tried with.
2. `run`: runs it, on the real `app.dispatch` and the real limits of keys.
3. `traffic`: sends the requests; `provider`: takes the time of the calls; `world`: the virtual time
   in which both run, and all threads of dispatch. Tests of dispatch use it, too.
4. `figures`: the waits by key and tier, and the use of providers.

Only `app.cli.simulate` and tests import it: no process that serves does.
"""
