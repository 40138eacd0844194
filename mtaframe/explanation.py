"""What pydantic found wrong, in the words of who wrote the file: which key, what to write, a guess at a mistyped one.

The rule: a finding never quotes a value, for any value may be a secret. Names of keys may be quoted.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal, get_args

from pydantic import BaseModel, ValidationError

from mtaframe.toml_position import Path

_SUBJECT = re.compile(r"^(?:Input|String|Value|List|Tuple|Dictionary|Set|Data) should ")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about one place of a file, which need not be there (a key that is missing)."""

    path: Path
    text: str
    kind: Literal["error", "warning"] = "error"


def explained(error: ValidationError, model: type[BaseModel], data: Mapping[str, Any]) -> list[Finding]:
    """One finding per place, in the order of the model; what each branch of a union says is joined by "or"."""
    texts: dict[Path, list[str]] = {}
    for item in error.errors(include_url=False, include_input=False, include_context=False):
        loc, kind = item["loc"], item["type"]
        path = _written_part(loc, data)
        if kind == "missing":
            path, text = (*path, loc[-1]), "this key is missing"
        elif kind == "extra_forbidden":
            text = _unknown_key(model, loc)
        else:
            text = _SUBJECT.sub("must ", item["msg"].removeprefix("Value error, "))
        said = texts.setdefault(path, [])
        if text not in said:
            said.append(text)
    return [Finding(path, ", or ".join(said)) for path, said in texts.items()]


def guess(word: str, known: Iterable[str]) -> str:
    """``; did you mean "…"?``, or nothing if no known word is near."""
    near = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else ""


def _written_part(loc: Sequence[str | int], data: Any) -> Path:
    """As much of a place as the file has: pydantic adds names of types and missing keys."""
    path: Path = ()
    for part in loc:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return path
        path = (*path, part)
    return path


def _unknown_key(model: type[BaseModel], loc: Sequence[str | int]) -> str:
    *above, key = loc
    models = [model]
    for part in above:
        inner = [m for outer in models if part in (keys := _keys(outer)) for m in _models(keys[str(part)])]
        models = inner or models
    here = [name for m in models for name in _keys(m)]
    text = f'unknown key "{key}"'
    if near := guess(str(key), here):
        return text + near
    if above and key in _keys(model):
        return f"{text} here; it belongs above the first [section]"
    return text


def _keys(model: type[BaseModel]) -> dict[str, Any]:
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that an annotation such as ``tuple[Model, ...] | None`` speaks of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
