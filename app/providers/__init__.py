"""Providers: the wire formats, and what they share.

* `kinds`: one module for each wire format, named as the ``kind`` in ``PROVIDERS``.
* `presets`: the kinds that speak OpenAI's format with a few differences; `dialect`: these as data.
* `bedrock_models`: the bodies of the models at Amazon Bedrock.

What they share:

* `base`: what a wire format and a provider must offer, and which error each HTTP status stands for;
  `registry`: finds them by their kind.
* `bodies`: JSON, the check of vectors, their order; reads token counts.
* `refusals`: what an error says: its message, how long to wait, whether a size was refused.
* `rate_limits`: what headers say of the provider's rate limits.
* `contexts`: the most tokens of a text that each model embeds.
* `options`: settings that only some kinds have.
* `http`: makes the calls.
* `credentials`: credentials of clouds.
"""
