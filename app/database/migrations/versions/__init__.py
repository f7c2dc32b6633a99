"""One migration in each file, in order, written by hand. A released one is never changed."""
