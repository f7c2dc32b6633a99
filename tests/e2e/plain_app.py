"""A small WSGI app for tests of the server."""

import json
import os
import time


def app(environ, start_response):
    """`/sleep/0.5`, `/early/413` (the body stays unread), `/crash`; else: what was read."""
    _, kind, argument, *_ = [*environ["PATH_INFO"].split("/"), ""]
    if kind == "crash":
        raise RuntimeError("a bug")
    if kind == "header":
        start_response("200 OK", [("X-Bad", "sk-secret\r\n")])
        return [b""]
    status, answer = (
        "200 OK",
        {
            "peer": environ["REMOTE_PORT"],
            "protocol": environ["SERVER_PROTOCOL"],
            "pid": os.getpid(),
        },
    )
    if kind == "early":
        status = f"{argument} Early"
    else:
        try:
            answer["read"] = len(environ["wsgi.input"].read())
        except OSError as error:
            status, answer = "400 Bad Request", {"error": str(error)}
    if kind == "sleep":
        time.sleep(float(argument))
    body = json.dumps(answer).encode()
    start_response(
        status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    )
    return [body]
