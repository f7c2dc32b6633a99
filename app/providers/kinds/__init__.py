"""One module for each wire format, named as the ``kind`` in ``PROVIDERS``.

A module builds requests and parses answers and does no I/O. To add one, see "Add a provider" in
docs/providers.md.

* `openai`: OpenAI's, and that of servers that differ from it in details (`app.providers.presets`).
* `azure`: Azure OpenAI.
* `bedrock`: Amazon Bedrock.
* `cohere`: Cohere's embed API, version 2.
* `gemini`: Google's Gemini API; `vertex`: Google's Vertex AI.
* `ollama`: Ollama's own API.
* `tei`: Hugging Face's Text Embeddings Inference.
* `voyage`: Voyage AI.
* `local`: the embedded model, which needs no network.
"""
