"""Real servers and clients for the tests, on the loopback address.

- `upstream`: an embeddings provider on a socket, whose behaviour tests script byte by byte.
- `stalls`, `wrong_answers`, `refusals`: named behaviours of it.
- `openai_style`, `vectors`: its good answers; tests compute the same.
- `server`: the proxy itself, started as an operator starts it.
- `settings`: the settings module of such a proxy.
- `client`, `wire`: single HTTP requests without a client library.
- `javascript`: the newest OpenAI SDK for JavaScript, where no Node is but the one from pip.

The fixtures are in `tests/conftest.py`.
"""
