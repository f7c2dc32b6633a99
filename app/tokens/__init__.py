"""Count tokens, and decode token ids to text."""
