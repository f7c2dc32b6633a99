"""Errors of providers, with secrets in their bodies: behaviours of an `Upstream`."""

from tests.support.upstream import Behaviour, Exchange


def message_with_secrets(exchange: Exchange) -> str:
    """Return a message with the provider's key and addresses, as real ones have."""
    upstream = exchange.upstream
    return (
        f"Incorrect API key provided: {upstream.api_key}. "
        f"Request to {upstream.base_url}/embeddings with 'Authorization: Bearer "
        f"{upstream.api_key}' at 127.0.0.1:{upstream.port} failed."
    )


def status(code: int, message: str = "", **headers: str) -> Behaviour:
    """Answer this status in OpenAI's error format; the default message has secrets."""

    def behaviour(exchange: Exchange) -> None:
        error = {
            "message": message or message_with_secrets(exchange),
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        }
        exchange.reply(code, {"error": error}, **headers)

    return behaviour


def page(code: int) -> Behaviour:
    """Answer this status with an HTML page, as a load balancer does."""
    return lambda exchange: exchange.reply(
        code,
        f"<html><h1>{message_with_secrets(exchange)}</h1></html>".encode(),
        Content_Type="text/html",
    )


def redirect(to: str, code: int = 302) -> Behaviour:
    """Redirect to another host: following it would send inputs and key there."""
    return lambda exchange: exchange.reply(code, b"", Location=to)


def delayed(seconds: float, then: Behaviour) -> Behaviour:
    """Delay another behaviour."""

    def behaviour(exchange: Exchange) -> None:
        if not exchange.closed_within(seconds):
            then(exchange)

    return behaviour
