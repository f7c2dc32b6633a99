"""Token counts: estimated (`counting`), or exact, by the tokenizer of a model (`tokenizers`).

`bounded` counts within a time limit, and `slices` a long text in slices.
"""
