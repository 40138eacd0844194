"""A secret in the configuration: in clear, ``{ file = "…" }`` or ``{ env = "…" }``. It never prints itself."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, SecretStr, WithJsonSchema


def _revealed(value: object) -> object:
    if not isinstance(value, dict):
        return value
    if set(value) == {"file"}:
        try:
            return Path(str(value["file"])).read_text().rstrip("\r\n")
        except OSError as error:
            raise ValueError(f"the secret's file can't be read: {error.strerror}") from None
    if set(value) == {"env"}:
        try:
            return os.environ[str(value["env"])]
        except KeyError:
            raise ValueError("the secret's environment variable is not set") from None
    raise ValueError('a secret is text, { file = "…" } or { env = "…" }')


Secret = Annotated[
    SecretStr,
    BeforeValidator(_revealed),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "object", "properties": {"file": {"type": "string"}}, "required": ["file"]},
                {"type": "object", "properties": {"env": {"type": "string"}}, "required": ["env"]},
            ]
        }
    ),
]
"""Text, or where to find it. ``.get_secret_value()`` reveals it."""
