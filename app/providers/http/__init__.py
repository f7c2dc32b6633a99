"""HTTP to providers: requests over connections that end at a deadline."""
