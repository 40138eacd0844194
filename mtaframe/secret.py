"""A secret in the configuration: in clear, ``{ file = "…" }`` or ``{ env = "…" }``. It never prints itself.

A relative path starts at the folder of the configuration.
"""

import os
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, SecretStr, ValidationInfo, WithJsonSchema


def _revealed(value: object, info: ValidationInfo) -> object:
    if not isinstance(value, dict):
        return value
    if set(value) == {"file"}:
        try:
            return Path((info.context or {}).get("folder", ""), str(value["file"])).read_text().rstrip("\r\n")
        except OSError as error:
            raise ValueError(f"the secret's file can't be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ValueError("the secret's file is not UTF-8 text") from None
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
