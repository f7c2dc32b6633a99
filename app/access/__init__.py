"""Who asks: bearer keys and what their owners may do."""
