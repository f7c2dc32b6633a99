"""Providers that say no: behaviours of an `Upstream`, their bodies full of what must not leak."""

from tests.support.upstream import Behaviour, Exchange


def gossip(exchange: Exchange) -> str:
    """A message with the provider's key and addresses in it, as real ones have."""
    upstream = exchange.upstream
    return (
        f"Incorrect API key provided: {upstream.api_key}. "
        f"Request to {upstream.base_url}/embeddings with 'Authorization: Bearer "
        f"{upstream.api_key}' at 127.0.0.1:{upstream.port} failed."
    )


def status(code: int, message: str = "", **headers: str) -> Behaviour:
    """This status, in OpenAI's error shape; without a message, with a gossiping one."""

    def behaviour(exchange: Exchange) -> None:
        error = {
            "message": message or gossip(exchange),
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        }
        exchange.reply(code, {"error": error}, **headers)

    return behaviour


def page(code: int) -> Behaviour:
    """This status with an HTML page, as a load balancer in front of a provider answers."""
    return lambda exchange: exchange.reply(
        code, f"<html><h1>{gossip(exchange)}</h1></html>".encode(), Content_Type="text/html"
    )


def redirect(to: str, code: int = 302) -> Behaviour:
    """Redirect to another host: following it would send inputs and key there."""
    return lambda exchange: exchange.reply(code, b"", Location=to)


def delayed(seconds: float, then: Behaviour) -> Behaviour:
    """Another behaviour, later."""

    def behaviour(exchange: Exchange) -> None:
        if not exchange.hung_up_within(seconds):
            then(exchange)

    return behaviour
