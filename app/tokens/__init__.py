"""Counting tokens, and text from token ids, with a model's own tokenizer."""
