"""What the tests run against, all of it real and on the loopback address.

- `upstream`: an embeddings provider on a socket that can be told to misbehave, byte by byte.
- `stalls`, `lies`, `refusals`: the ways in which it misbehaves, each under a name.
- `openai_style`, `vectors`: what it answers when it is good; tests compute the same.
- `server`: the proxy itself, started as an operator starts it.
- `settings`: the settings module that such a proxy reads.
- `client`, `wire`: one HTTP exchange at a time, with nothing hidden by a client library.
- `javascript`: the newest OpenAI SDK for JavaScript, where no Node is but the one from pip.

The fixtures are in `tests/conftest.py`.
"""
