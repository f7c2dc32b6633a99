"""The request of the page as code: for curl, Python and JavaScript, without the key itself."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.console.playground.figures import shortened

#: Texts that the code has, and characters of each.
MAX_TEXTS = 3
MAX_TEXT_LENGTH = 120
#: The variable of the environment that the code takes the key from.
KEY_VARIABLE = "PROXY_KEY"
#: Fields that OpenAI's SDKs have as arguments; others go into ``extra_body``.
_ARGUMENTS = ("model", "input", "dimensions", "user")


@dataclass(frozen=True, slots=True)
class Example:
    """Code in one language."""

    title: str
    text: str


def examples(base_url: str, payload: Mapping[str, Any]) -> list[Example]:
    """Return the same request in each language. ``base_url`` ends in /v1."""
    texts = [shortened(text, MAX_TEXT_LENGTH) for text in payload["input"][:MAX_TEXTS]]
    payload = {**payload, "input": texts}
    return [
        Example("curl", _curl(base_url, payload)),
        Example("Python", _python(base_url, payload)),
        Example("JavaScript", _javascript(base_url, payload)),
    ]


def _curl(base_url: str, payload: Mapping[str, Any]) -> str:
    body = shlex.quote(_pretty(payload))
    return (
        f"curl {shlex.quote(base_url + '/embeddings')} \\\n"
        f'  -H "Authorization: Bearer ${KEY_VARIABLE}" \\\n'
        f'  -H "Content-Type: application/json" \\\n'
        f"  -d {body}\n"
    )


def _python(base_url: str, payload: Mapping[str, Any]) -> str:
    arguments = [f"    {name}={_literal(payload[name])}," for name in _ARGUMENTS if name in payload]
    others = {name: value for name, value in payload.items() if name not in _ARGUMENTS}
    if others:
        arguments.append(f"    extra_body={others!r},")
    return (
        "import os\n\nfrom openai import OpenAI\n\n"
        f'client = OpenAI(base_url={_literal(base_url)}, api_key=os.environ["{KEY_VARIABLE}"])\n'
        "answer = client.embeddings.create(\n" + "\n".join(arguments) + "\n)\n"
        "vectors = [one.embedding for one in answer.data]\n"
    )


def _javascript(base_url: str, payload: Mapping[str, Any]) -> str:
    body = _pretty(payload)
    return (
        'import OpenAI from "openai";\n\n'
        "const client = new OpenAI({\n"
        f"  baseURL: {_pretty(base_url)},\n"
        f"  apiKey: process.env.{KEY_VARIABLE},\n"
        "});\n"
        f"const answer = await client.embeddings.create({body});\n"
        "const vectors = answer.data.map((one) => one.embedding);\n"
    )


def _pretty(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


def _literal(value: object) -> str:
    """Return a literal of Python: a list of texts has a line for each."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        lines = "".join(f"        {_literal(each)},\n" for each in value)
        return f"[\n{lines}    ]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
