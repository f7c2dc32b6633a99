"""What a request cost: counting and sharing out tokens."""
