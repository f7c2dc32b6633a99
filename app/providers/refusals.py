"""What an answer that is no 2xx says: its message, how long to wait, whether a size was refused.

`app.providers.base.WireFormat.refuse` chooses the error by the status. Pure functions on bodies and
headers. Nothing here trusts what it reads: a provider, or a gateway before it, may answer anything.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime

import msgspec

from app.errors import ProviderError, ProviderUnavailable, Rejected

#: Longest part of a provider's own message that is passed on, in characters.
_MESSAGE_LENGTH = 500
#: Longest part that is searched for secrets: the time that takes may grow with its square.
_MESSAGE_LOOKED_AT = 8_000
_SECRETS = re.compile(
    # OpenAI's and others', Voyage's, Jina's, NVIDIA's, Hugging Face's, Groq's, xAI's, GitHub's
    r"(?i)\b(?:sk|pk|rk|pa|jina|nvapi|hf|gsk|AIza|xai|gh[oprsu]|github_pat)[-_][\w*.-]{6,}"
    r"|\bbearer\s+\S+|\bAIza[\w-]{20,}|\bya29\.[\w.-]+"  # the latter two Google's
    r"|\bdapi[0-9a-f]{16,}(?:-\d+)?"  # Databricks'
    r"|\b(?:fw|tgp_v1|r8|vck)_[\w-]{16,}"  # Fireworks', Together's, Replicate's, Vercel's
    # Base64 after the word has more than letters in lower case: "basic authentication" stays.
    r"|(?<=authorization: )basic\s+\S+|\bbasic\s+(?-i:(?=\S+[A-Z0-9=])\S{8,})"
    r"|\b(?:ABSK|bedrock-api-key-)[\w+/=-]{16,}"  # Bedrock's
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\b(?:X-Amz-)?(?:Credential|Signature)=[^\s,;&]+"  # AWS's
    r"|\beyJ[\w-]+\.[\w.-]+"  # a JSON web token, as Entra ID and Google hand out
    r"|https?://\S+"
    # user:password@host, and addresses with a port. Each begins where no name goes on and has parts
    # of bounded length: otherwise the time of the search would grow with the square of a message.
    r"|(?<![\w.+%-])[\w.+%-]{1,200}:[^\s@]{1,200}@[\w.-]+(?::\d{1,5}\b)?"
    r"|(?<![\w.-])(?:\d{1,3}\.){3}\d{1,3}:\d{1,5}\b"
    r"|(?<![\w.-])(?:[\w-]{1,63}\.)+[a-z][a-z-]+:\d{2,5}\b"
)
#: Longest wait that a provider is taken to ask for: until a quota of a month begins anew.
MAX_WAIT_S = 31 * 86_400.0
#: How providers say that a call, or one text of it, is too large: tests/providers/test_sizes.py has
#: a message of each.
_SIZE = re.compile(
    r"(?i)\btoo (?:large|long|big)\b|\btoo many (?!requests)"
    r"|\bmax(?:imum)?\b.{0,40}\b(?:tokens?|inputs?|texts?|items?|length|size|context|characters)\b"
    r"|\bmaxLength\b|\bat most \d"
    r"|\bexceed(?:s|ed|ing)?\b.{0,40}(?:\b(?:length|limit|context|tokens?|size|maximum)\b|\d)"
    r"|\b(?:batch size|range of input length|context (?:length|window|size))\b"
    r"|\b(?:larger|longer|more|less|fewer) than (?:the largest allowed|\d+)"
    r"|\bsupports (?:only )?up to \d|\binstances?(?:\(s\))? (?:is|are) allowed per prediction\b"
)
#: What such words may speak of besides: the width of a vector, or the end user's name.
_OTHER_SIZE = re.compile(r"(?i)dimension|'user'")
#: What a client reads where the provider gave no reason; by whether the size was refused.
_NO_REASON = {
    False: "The provider refused the request as invalid.",
    True: "The provider refused the request as too large.",
}
#: Exceptions of reading foreign JSON.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def rejected(message: str, status: int = 400) -> Rejected:
    """Return `Rejected` with a cleaned message, and with whether the size of the call was refused.

    A 413 says that by its status: of a provider, or of a gateway before it.
    """
    too_large = status == 413 or names_size(message)
    return Rejected(message or _NO_REASON[too_large], too_large=too_large)


def blamed(error: ProviderError, message: str, words: Sequence[str]) -> ProviderError:
    """Return `Rejected` where ``words`` in the message of a failure blame an input; else ``error``.

    Such an input fails at each attempt, so that retries only cost.
    """
    if isinstance(error, ProviderUnavailable) and any(word in message for word in words):
        return rejected(message)
    return error


def names_size(message: str) -> bool:
    """Return whether the message of a 400 or 422 says that there was too much of something.

    That is too many inputs, or one text that is too long: providers use the same words for both.
    """
    return bool(_SIZE.search(message)) and not _OTHER_SIZE.search(message)


def message_of(body: bytes | memoryview) -> str:
    """Return the message in an error body of any of the usual shapes, or an empty string."""
    try:
        found = msgspec.json.decode(body)
    except UNREADABLE:
        return ""
    place = ""
    for name in ("error", "message", "detail", "error_msg", "msg"):
        while isinstance(found, list) and found:
            found = found[0]
        if isinstance(found, dict) and name in found:
            if isinstance(found.get("loc"), list):  # pydantic's: it names the field
                names = [str(part) for part in found["loc"] if isinstance(part, str | int)]
                place = ".".join(names) + ": "
            found = found[name]
    return place + found if isinstance(found, str) else ""


def clean(message: str, secrets: Sequence[str]) -> str:
    """Return a provider's message as a client may read it: short, one line, no key, no address."""
    if len(message) > _MESSAGE_LOOKED_AT:
        # A secret that this cuts in two would no longer be known as one: its part goes too.
        message = message[:_MESSAGE_LOOKED_AT].rpartition(" ")[0] + " …"
    for secret in secrets:  # addresses have no case
        message = re.sub(re.escape(secret), "[redacted]", message, flags=re.IGNORECASE)
    message = " ".join(_SECRETS.sub("[redacted]", message).split())
    return message if len(message) <= _MESSAGE_LENGTH else message[:_MESSAGE_LENGTH] + "…"


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a provider asks to wait, by ``retry-after-ms`` or ``Retry-After``.

    The latter is seconds or a date (RFC 9110, 10.2.3), which is compared with the provider's own
    ``Date`` where it sends one. None if it is missing or cannot be read.
    """
    try:
        if "retry-after-ms" in headers:
            return bounded_wait(float(headers["retry-after-ms"]) / 1000)
        if "retry-after" in headers:
            text = headers["retry-after"]
            seconds = _until(text, headers.get("date")) if "," in text else float(text)
            return bounded_wait(seconds)
    except (ValueError, TypeError, OverflowError):  # the latter two of dates
        pass
    return None


def bounded_wait(seconds: float) -> float | None:
    """Return seconds to wait, between 0 and `MAX_WAIT_S`; None for infinity and NaN."""
    return min(max(0.0, seconds), MAX_WAIT_S) if math.isfinite(seconds) else None


def _until(date: str, now: str | None) -> float:
    start = parsedate_to_datetime(now).timestamp() if now else time.time()
    return parsedate_to_datetime(date).timestamp() - start
