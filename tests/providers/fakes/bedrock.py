"""Amazon Bedrock: one path for each model, the bodies of the model's maker, AWS's signatures."""

import hmac
import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.providers.fakes.base import Asked, Fake, Refused
from tests.support.upstream import Exchange
from tests.support.wire import Request

REGION = "eu-central-1"
ACCESS_KEY = "AKIAIOSFODNN7EXAMPLE"
#: API_runtime_InvokeModel, "Errors".
KINDS = {
    400: "ValidationException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
}
_NAMESPACE = "http://internal.amazon.com/coral/com.amazon.bedrock/"
_PARTS = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/bedrock/aws4_request, "
    r"SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})"
)
_PURPOSES = {"GENERIC_INDEX", "GENERIC_RETRIEVAL", "TEXT_RETRIEVAL", "CLASSIFICATION", "CLUSTERING"}


def strict(found: Any, required: set[str], others: set[str], place: str = "#") -> dict[str, Any]:
    """An object with these fields and no others, in Bedrock's own words."""
    if not isinstance(found, dict):
        raise Refused(400, f"Malformed input request: {place}: expected type: JSONObject")
    for name in required - found.keys():
        raise Refused(400, f"Malformed input request: {place}: required key [{name}] not found")
    for name in found.keys() - required - others:
        raise Refused(
            400,
            f"Malformed input request: {place}: extraneous key [{name}] is not permitted, please "
            "reformat your input and try again.",
        )
    return found


def check(condition: bool, place: str) -> None:
    if not condition:
        raise Refused(400, f"Malformed input request: {place}: is not a valid value")


class BedrockFake(Fake):
    """``POST /model/{id}/invoke`` by API key, or signed with it as the secret access key."""

    def __init__(self, width: int = 8) -> None:
        super().__init__(width)
        self.session_token: str | None = None  # that a signature must come with
        self._now = threading.local()  # .request: the current one on this connection

    # Authentication

    def _requests(self, connection: Any) -> Any:
        for request in super()._requests(connection):
            self._now.request = request
            yield request

    def authorized(self, headers: Any) -> bool:
        authorization = headers.get("authorization", "")
        if authorization.startswith("AWS4-HMAC-SHA256"):
            self._verify(self._now.request, authorization)
        elif authorization != f"Bearer {self.api_key}":
            raise Refused(403, "Authentication failed: Please make sure your API Key is valid.")
        return True

    def _verify(self, request: Request, authorization: str) -> None:
        found = _PARTS.fullmatch(authorization)
        if not found or found[1] != ACCESS_KEY or found[3] != REGION:
            raise Refused(403, "The security token included in the request is invalid.")
        signed = found[4].split(";")
        assert {"host", "x-amz-date", "content-type"} <= set(signed)
        when = datetime.strptime(request.headers["x-amz-date"], "%Y%m%dT%H%M%SZ")
        assert abs((datetime.now(UTC) - when.replace(tzinfo=UTC)).total_seconds()) < 300
        if request.headers.get("x-amz-security-token") != self.session_token:
            raise Refused(403, "The security token included in the request is expired")
        if not hmac.compare_digest(self._signature(request, signed), found[5]):
            raise Refused(403, "The request signature we calculated does not match the signature")

    def _signature(self, request: Request, signed: list[str]) -> str:
        signer = SigV4Auth(Credentials(ACCESS_KEY, self.api_key), "bedrock", REGION)
        again = AWSRequest(
            request.method,
            f"http://{request.headers['host']}{request.path}",
            data=request.body,
            headers={name: request.headers[name] for name in signed if name != "host"},
        )
        again.context["timestamp"] = request.headers["x-amz-date"]
        text = signer.string_to_sign(again, signer.canonical_request(again))
        return str(signer.signature(text, again))

    # Requests

    def ask(self, path: str, body: dict[str, Any]) -> Asked:
        found = re.fullmatch(r"/model/([^/:]+)/invoke", path)  # encoded: no ':' and no '/' in it
        if not found:
            raise Refused(404, "The path is not known.")
        model = unquote(found[1])
        for mark, ask in _ASK.items():
            if mark in model:
                return ask(self, body)
        raise Refused(400, "The provided model identifier is invalid.")

    def answer_to(self, asked, rows, tokens):
        vectors = [row.tolist() for _, row in rows]
        match asked.encoding.split():
            case ["titan"]:
                # One text a call; several are all concatenated into one vector.
                joined = [value for row in vectors for value in row]
                answer: dict[str, Any] = {"embedding": joined} if vectors else {}
                answer["embeddingsByType"] = {"float": joined}
                return answer if tokens is None else {**answer, "inputTextTokenCount": tokens}
            case ["nova"]:
                return {"embeddings": [{"embeddingType": "TEXT", "embedding": v} for v in vectors]}
            case ["cohere", *types]:
                found = {"float": vectors} if types else vectors
                kind = "embeddings_by_type" if types else "embeddings_floats"
                return {
                    "id": "1",
                    "texts": asked.items,
                    "embeddings": found,
                    "response_type": kind,
                }
        raise AssertionError(asked)

    def headers_of(self, tokens: int | None) -> dict[str, str]:
        return {} if tokens is None else {"X_Amzn_Bedrock_Input_Token_Count": str(tokens)}

    # Errors

    def error(self, status: int, message: str) -> Any:
        return {"message": message}

    def _respond(self, exchange: Exchange) -> None:
        reply = exchange.reply

        def typed(status: int, body: Any, **headers: str) -> None:
            if status in KINDS:
                headers = {"x_amzn_ErrorType": f"{KINDS[status]}:{_NAMESPACE}", **headers}
            reply(status, body, **headers)

        exchange.reply = typed  # type: ignore[method-assign]
        super()._respond(exchange)


def _titan(fake: BedrockFake, body: dict[str, Any], widths: bool = True) -> Asked:
    others = {"dimensions", "normalize", "embeddingTypes"} if widths else set()
    strict(body, {"inputText"}, others)
    check(isinstance(body["inputText"], str) and 0 < len(body["inputText"]) <= 50_000, "inputText")
    width = body.get("dimensions", fake.width)
    check(isinstance(width, int) and 0 < width <= fake.width, "dimensions")
    return Asked([body["inputText"]], width, encoding="titan")


def _titan_1(fake: BedrockFake, body: dict[str, Any]) -> Asked:
    return _titan(fake, body, widths=False)


def _cohere(fake: BedrockFake, body: dict[str, Any], version: int) -> Asked:
    others = {"truncate", "embedding_types"}
    if version == 4:
        others |= {"output_dimension", "max_tokens"}
    strict(body, {"texts", "input_type"}, others)
    texts = body["texts"]
    check(isinstance(texts, list) and all(isinstance(t, str) and t for t in texts), "texts")
    if len(texts) > 96:
        raise Refused(400, "Malformed input request: #/texts: expected maximum item count: 96")
    types = {"search_document", "search_query", "classification", "clustering"}
    check(body["input_type"] in types, "input_type")
    check(body.get("truncate", "NONE") in ("NONE", "START", "END", "LEFT", "RIGHT"), "truncate")
    width = body.get("output_dimension", fake.width)
    check(isinstance(width, int) and 0 < width <= fake.width, "output_dimension")
    encoding = "cohere " + " ".join(body.get("embedding_types", []))
    return Asked(texts, width, body["input_type"], encoding)


def _cohere_3(fake: BedrockFake, body: dict[str, Any]) -> Asked:
    return _cohere(fake, body, 3)


def _cohere_4(fake: BedrockFake, body: dict[str, Any]) -> Asked:
    return _cohere(fake, body, 4)


def _nova(fake: BedrockFake, body: dict[str, Any]) -> Asked:
    strict(body, {"taskType", "singleEmbeddingParams"}, {"schemaVersion"})
    check(body["taskType"] == "SINGLE_EMBEDDING", "taskType")
    params = body["singleEmbeddingParams"]
    strict(params, {"embeddingPurpose", "text"}, {"embeddingDimension"}, "singleEmbeddingParams")
    text = strict(params["text"], {"truncationMode", "value"}, set(), "text")
    check(params["embeddingPurpose"] in _PURPOSES, "embeddingPurpose")
    check(text["truncationMode"] in ("START", "END", "NONE"), "truncationMode")
    check(isinstance(text["value"], str) and 0 < len(text["value"]) <= 50_000, "value")
    width = params.get("embeddingDimension", fake.width)
    check(isinstance(width, int) and 0 < width <= fake.width, "embeddingDimension")
    return Asked([text["value"]], width, params["embeddingPurpose"], "nova")


_ASK: dict[str, Callable[[BedrockFake, dict[str, Any]], Asked]] = {
    "titan-embed-text-v2": _titan,
    "titan-embed-text-v1": _titan_1,
    "cohere.embed-v4": _cohere_4,
    "cohere.embed-": _cohere_3,
    "amazon.nova-2-multimodal-embeddings": _nova,
    "application-inference-profile": _titan,
}
