"""HTTP and JSON: routes, request bodies, responses. No package below uses Flask."""
