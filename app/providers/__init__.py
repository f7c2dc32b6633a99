"""Providers: one module for each wire format, named as the ``kind`` in ``PROVIDERS``.

A module builds requests and parses answers and does no I/O. To add one, see "Add a provider" in
docs/providers.md. The wire formats:

* `openai`: OpenAI's, and that of servers that differ from it in details. `dialect`: these details
  as data; `presets`: the kinds that have them.
* `azure`: Azure OpenAI.
* `bedrock`: Amazon Bedrock; `bedrock_models`: the bodies of the models there.
* `cohere`: Cohere's embed API, version 2.
* `gemini`: Google's Gemini API; `vertex`: Google's Vertex AI.
* `ollama`: Ollama's own API.
* `tei`: Hugging Face's Text Embeddings Inference.
* `voyage`: Voyage AI.
* `local`: the embedded model, which needs no network.

What they share:

* `base`: what a wire format and a provider must offer; `registry`: finds them by their kind.
* `bodies`: JSON, the check of vectors, their order.
* `counts`: reads token counts; `refusals`: reads errors; `rate_limits`: reads headers.
* `contexts`: the most tokens of a text that each model embeds.
* `options`: settings that only some kinds have.
* `http`: makes the calls.
* `credentials`: credentials of clouds.
"""
