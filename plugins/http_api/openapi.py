"""The OpenAPI document, made of the calls and their models: what it says is what is read and answered."""

import json
import re
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import models_json_schema

from mtaframe import HttpAnswer, HttpRequest, HttpRoute
from mtaframe_plugins.http_api.door import Call, Door

PATH = "/v1/openapi.json"
_REF = "#/components/schemas/{model}"
_OPEN = re.compile(r"\{(\w+)\}")
_PROBLEMS = {
    "400": "The request is wrong; the answer names the field.",
    "401": "The token is none.",
    "404": "There is no such thing.",
    "422": "Refused by the recipient's side, or a key that was used for something else.",
    "429": "Too often; Retry-After says when.",
    "503": "Not final yet, or not now: the same call again.",
}


def route(doors: Iterable[Door]) -> HttpRoute:
    """Serves the document, to everybody."""
    octets = json.dumps(document(doors)).encode()

    async def handle(request: HttpRequest) -> HttpAnswer:
        return HttpAnswer(body=octets)

    return HttpRoute("GET", PATH, handle)


def document(doors: Iterable[Door]) -> Mapping[str, Any]:
    """Version 3.1 of OpenAPI."""
    doors = list(doors)
    models = {model for door in doors for call in door.calls for model in (call.body, call.answer) if _is_model(model)}
    names = sorted(models, key=lambda model: str(model.__name__))
    _, schemas = models_json_schema([(model, "validation") for model in names], ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for door in doors:
        for call in door.calls:
            paths.setdefault(call.path, {})[call.method.lower()] = _operation(door, call)
    return {
        "openapi": "3.1.0",
        "info": {"title": "mtaframe", "version": version("mtaframe")},
        "paths": paths,
        "components": {
            "schemas": schemas.get("$defs", {}),
            "securitySchemes": {door.name: dict(door.scheme) for door in doors},
        },
    }


def _operation(door: Door, call: Call) -> Mapping[str, Any]:
    parameters: list[Mapping[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in _OPEN.findall(call.path)
    ]
    parameters += [
        {"name": name, "in": "query", "required": False, "description": text, "schema": {"type": "string"}}
        for name, text in call.query.items()
    ]
    described: dict[str, Any] = {"description": "Done."}
    kind = "application/x-ndjson" if call.is_streamed else "application/json"
    if call.answer is not None:
        described["content"] = {kind: {"schema": _schema(call.answer)}}
    operation: dict[str, Any] = {
        "summary": call.summary,
        "tags": [door.name],
        "security": [{door.name: []}],
        "parameters": parameters,
        "responses": {str(call.status): described, **{code: {"description": text} for code, text in _PROBLEMS.items()}},
    }
    if call.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _schema(call.body)}},
        }
    return operation


def _is_model(model: Any) -> bool:
    return isinstance(model, type)


def _schema(model: Any) -> Mapping[str, Any]:
    """A model by its name, anything else (a list of models) in place."""
    if _is_model(model):
        return {"$ref": _REF.format(model=model.__name__)}
    return TypeAdapter(model).json_schema(ref_template=_REF)
