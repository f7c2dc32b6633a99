"""The operator's commands: ``flask --app wsgi …``, ``embeddings-proxy …``."""
