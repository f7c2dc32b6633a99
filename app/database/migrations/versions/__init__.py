"""One file a version, in order. Written by hand, and never changed once released."""
