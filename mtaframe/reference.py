"""What editors and the docs show of a model's keys: a JSON schema and a Markdown table."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo


@dataclass(frozen=True, slots=True)
class Key:
    """One key: its full ``name`` (``listener.*.name``), its default as TOML (None: there is none), what it says."""

    name: str
    default: str | None
    required: bool
    description: str


def schema(model: type[BaseModel], title: str) -> dict[str, Any]:
    """The JSON schema of a file, with defaults as people write them; editors offer keys and mark faults by it."""
    found = model.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found, "title": title}


def keys(model: type[BaseModel], above: str = "") -> Iterator[Key]:
    """Every key of a model and of the tables in it, in their order; ``*`` stands for each of several tables."""
    for name, field in model.model_fields.items():
        full = f"{above}{field.alias or name}"
        inner, many = _table(field.annotation)
        if inner is not None:
            yield from keys(inner, f"{full}.*." if many else f"{full}.")
        else:
            yield Key(full, _default(field), field.is_required(), field.description or "")


def settings_table(model: type[BaseModel]) -> str:
    """Every key with its default, as a Markdown table."""
    lines = ["| Key | Default | Meaning |", "| --- | --- | --- |"]
    for key in keys(model):
        default = "required" if key.required else f"`{key.default}`" if key.default is not None else ""
        meaning = key.description.replace("|", "\\|")
        lines.append(f"| `{key.name}` | {default} | {meaning} |")
    return "\n".join(lines) if len(lines) > 2 else "It has none."


def _table(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """The model behind ``Model``, ``tuple[Model, ...]`` or ``dict[str, Model]``, and whether there may be several."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    several = get_origin(annotation) in (tuple, list, dict)
    for argument in get_args(annotation):
        inner, many = _table(argument)
        if inner is not None:
            return inner, many or several
    return None, False


def _default(field: FieldInfo) -> str | None:
    if field.is_required():
        return None
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None:
        return None
    kind: Any = Annotated
    adapter: TypeAdapter[Any] = TypeAdapter(kind[(field.annotation, None, *field.metadata)])
    return _toml(adapter.dump_python(value, mode="json"))


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        inside = ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False)
