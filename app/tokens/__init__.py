"""Token counts: estimated, or exact, by the tokenizer of a model.

* `counting`: estimates the tokens of items, and divides a provider's count among them.
* `tokenizers`: the tokenizer of a model, which counts exactly.
* `bounded`: counts within a time limit.
* `slices`: cuts a long text, so that it is counted in slices.
"""
