"""The edge: HTTP and JSON in, HTTP and JSON out. Nothing below it knows either."""
