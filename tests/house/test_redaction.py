"""A canary in each field of each value: it must not be seen in a repr, a log line, an error or a traceback."""

import dataclasses
import enum
import importlib
import io
import json
import logging
import pkgutil
import pprint
import traceback
import types
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from pydantic import BaseModel, SecretStr, ValidationError

import mtaframe
import mtaframe_plugins
from mtaframe import Address, Attempt, Private, Question, Redacted
from mtaframe.account_settings import AccountsSettings
from mtaframe.config import ConfigError, load, snapshot
from mtaframe.logs import Json, Lines
from mtaframe.plugins import config_class, plugin_class
from mtaframe.reference import keys
from mtaframe.settings import Settings
from tests.house.test_layers import LAYERS
from tests.house.test_rooms import POINTS

CANARY = "canary-7f3a"
NUMBER = 868_686_868_686

NAMES = {
    "account": "names of accounts, streams and listeners are made of [a-z0-9_.-]: settings.NAME",
    "stream": "as account",
    "listener": "as account",
    "parent": "as account",
    "name": "as account; a source's name is the operator's",
    "id": "made up by us",
    "message_id": "our id of the envelope",
    "digest": "of the configuration",
    "folder": "of the configuration",
    "protocol": "SMTP, ESMTP, LMTP and so on",
    "status": "digits and dots: RFC 3463",
    "transport": "smtp, lmtp, or what a plugin calls it",
    "pool": "the operator's word",
    "by": "a transport's or a plugin's name",
    "body": "7BIT or 8BITMIME, checked at the door",
    "domain": "of a key: the configuration's own",
    "selector": "of a key: the configuration's own",
    "algorithm": "of a key",
}
"""Text fields that may print, and why they can't hold what is private."""


def modules() -> Iterator[types.ModuleType]:
    for package in (mtaframe, mtaframe_plugins):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            yield importlib.import_module(found.name)


def values() -> list[type[Any]]:
    """Every dataclass of the words, and everything Redacted wherever it is."""
    found: dict[str, type[Any]] = {}
    for module in modules():
        for kind in vars(module).values():
            if not (isinstance(kind, type) and dataclasses.is_dataclass(kind) and kind.__module__ == module.__name__):
                continue
            if issubclass(kind, Redacted) or module.__name__.split(".")[1] in LAYERS[-1]:
                found[f"{module.__name__}.{kind.__name__}"] = kind
    return list(found.values())


VALUES = values()


def name_of(kind: type[Any]) -> str:
    return f"{kind.__module__.partition('.')[2]}.{kind.__name__}"


def filled(kind: type[Any]) -> Any:
    """A value with a canary in every field that its class does not show, however deep."""
    hints = get_type_hints(kind)
    shown = getattr(kind, "_shown", ())
    return kind(
        **{
            field.name: _shown_value(hints[field.name]) if field.name in shown else _canary(hints[field.name])
            for field in dataclasses.fields(kind)
            if field.init
        }
    )


def _shown_value(hint: Any) -> Any:
    hint = _without_none(hint)
    return "name" if hint is str else 200 if hint is int else _canary(hint)


def _without_none(hint: Any) -> Any:
    if get_origin(hint) in (Union, types.UnionType):
        return next(each for each in get_args(hint) if each is not type(None))
    return hint


def _canary(hint: Any) -> Any:
    """Something of this type that holds the canary, if the type can hold one."""
    hint = _without_none(hint)
    origin, arguments = get_origin(hint), get_args(hint)
    simple: dict[Any, Any] = {
        str: CANARY,
        bytes: CANARY.encode(),
        int: NUMBER,
        float: float(NUMBER),
        bool: True,
        datetime: datetime(2026, 3, 1, tzinfo=UTC),
        Path: Path("/etc/mtaframe"),
        object: CANARY,
        Any: CANARY,
        Attempt: Attempt(0.0),
    }
    if hint in simple:
        return simple[hint]
    if origin is tuple:
        return tuple(_canary(each) for each in arguments if each is not Ellipsis)
    if origin in (frozenset, set, list):
        return origin([_canary(arguments[0])])
    if isinstance(origin, type) and issubclass(origin, Private):
        return Private({CANARY: _canary(arguments[0])})
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {CANARY: _canary(arguments[1])}
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return next(iter(hint))
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return filled(hint)
    return CANARY


def logged(formatter: logging.Formatter, *arguments: Any, exc_info: Any = None) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    handler.handle(logging.LogRecord("mtaframe", logging.INFO, __file__, 1, "%s", arguments, exc_info))
    return stream.getvalue()


WAYS: dict[str, Callable[[Any], str]] = {
    "repr": repr,
    "str": str,
    "format": lambda value: f"{value} {value!r} {'{}'.format(value)}",  # noqa: UP032
    "in a list": lambda value: f"{[value]} {({'key': value},)}",
    "pprint": pprint.pformat,
    "a log line": lambda value: logged(Lines(with_time=True), value) + logged(Json(), value),
    "another's log line": lambda value: logged(logging.Formatter("%(message)s"), [value]),
    "an exception": lambda value: "".join(traceback.format_exception(ValueError(value))) + repr(ValueError(value)),
    "an assertion": lambda value: "".join(traceback.format_exception(AssertionError((value, [value])))),
}


def test_there_are_values_to_look_at() -> None:
    assert {"Address", "Envelope", "Message", "Delivery", "Event", "Reply", "Part", "Kept"} <= {
        kind.__name__ for kind in VALUES
    }


@pytest.mark.parametrize("kind", VALUES, ids=name_of)
def test_no_field_is_seen(kind: type[Any]) -> None:
    value = filled(kind)
    hidden = (CANARY, str(NUMBER)) if issubclass(kind, Redacted) else (CANARY,)
    seen = [way for way, say in WAYS.items() if any(secret in say(value) for secret in hidden)]
    assert seen == [], f"{name_of(kind)}: make it Redacted (with repr=False), and name only what may print in _shown"


@pytest.mark.parametrize("kind", [kind for kind in VALUES if issubclass(kind, Redacted)], ids=name_of)
def test_what_is_shown_cannot_hold_what_is_private(kind: type[Any]) -> None:
    hints = get_type_hints(kind)
    for name in kind._shown:
        hint = _without_none(hints[name]) if name in hints else str
        private = hint is bytes or (hint is str and name not in NAMES) or get_origin(hint) is not None
        assert not private, f"{name_of(kind)}._shown: {name} may hold text; or say in NAMES why it can't"
        assert hint != Address, "an address never prints"


def test_a_plugins_question_shows_nothing_of_its_own() -> None:
    @dataclasses.dataclass(frozen=True, slots=True, repr=False)
    class IsSuppressed(Question[bool]):
        address: Address

    question = IsSuppressed(Address(CANARY, "example.com"))
    assert CANARY not in repr(question)
    with pytest.raises(TypeError) as failure:
        _ = question.default
    assert CANARY not in str(failure.value)


@pytest.mark.parametrize("text", [CANARY, f"{CANARY} x@example.com", f"x@-{CANARY}-", f"{CANARY * 9}@example.com"])
def test_an_address_that_is_none_is_not_quoted(text: str) -> None:
    with pytest.raises(ValueError, match=r"RFC 5321|needs an @") as failure:
        Address.parse(text)
    assert CANARY not in "".join(traceback.format_exception_only(failure.value))


def test_a_missing_note_is_not_quoted() -> None:
    with pytest.raises(KeyError) as failure:
        Private({"a": 1})[CANARY]
    assert CANARY not in str(failure.value)


@pytest.mark.parametrize("formatter", [Lines(with_time=False), Json()], ids=["text", "json"])
def test_an_exceptions_text_is_not_logged(formatter: logging.Formatter) -> None:
    try:
        raise RuntimeError(CANARY) from ValueError(CANARY)
    except RuntimeError as error:
        line = logged(formatter, "internal_error", exc_info=(type(error), error, error.__traceback__))
    assert CANARY not in line
    assert "RuntimeError" in line
    assert "test_redaction.py" in line


# The configuration.

MODELS: dict[str, type[BaseModel]] = {"mtaframe": Settings, "accounts": AccountsSettings}
MODELS |= {name: config_class(plugin_class(name)) for name in POINTS}


QUOTED = {
    *("plugins", "listener.*.account", "third_party.*.domain"),
    *("default_pool", "limited_pool", "rule.*.pool", "pool.*.sources", "pool.*.fallback"),
}
"""Keys whose value is a name that must exist: which one does not is told."""


def mistaken(model: type[BaseModel]) -> Iterator[dict[str, Any]]:
    """For each key, what it should be replaced by a canary of several types."""
    for key in (each for each in keys(model) if each.name not in QUOTED):
        for value in (CANARY, [CANARY], {CANARY.replace("-", ""): CANARY}, f"{CANARY}@example.com", NUMBER):
            data: Any = value
            for part in reversed(key.name.split(".")):
                data = [data] if part == "*" else {part: data}
            yield data


@pytest.mark.parametrize("name", MODELS)
def test_a_fault_never_quotes_what_was_written(name: str, tmp_path: Path) -> None:
    main = f'plugins = ["{name}"]\n' if name not in ("mtaframe", "accounts") else ""
    for data in mistaken(MODELS[name]):
        (tmp_path / "mtaframe.toml").write_text(main)
        (tmp_path / f"{name}.toml").write_text((main if name == "mtaframe" else "") + _toml(data))
        for use in (
            lambda data=data: MODELS[name].model_validate(data, context={"folder": tmp_path}),
            lambda: load(snapshot(tmp_path), lambda _: dict(MODELS)),
        ):
            try:
                use()
            except (ValidationError, ConfigError) as error:
                said = f"{error} {error!r} {''.join(traceback.format_exception_only(error))}"
                values = [line for line in said.splitlines() if CANARY in line]
                assert values == [], "hide_input_in_errors, and no value in the text of a validator"


def _toml(data: dict[str, Any]) -> str:
    """As inline tables: the same data, in one line a key."""

    def written(value: Any) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{key} = {written(each)}" for key, each in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(map(written, value)) + "]"
        return json.dumps(value)

    return "".join(f"{key} = {written(value)}\n" for key, value in data.items())


def test_a_secret_does_not_print() -> None:
    config = MODELS["smart_host"].model_validate(
        {"host": [{"name": "relay", "next_hop": "127.0.0.1", "user": "u", "password": CANARY}]}
    )
    assert CANARY not in f"{config!r} {config} {pprint.pformat(config)} {config.model_dump()}"
    assert isinstance(config.host[0].password, SecretStr)  # type: ignore[attr-defined]
