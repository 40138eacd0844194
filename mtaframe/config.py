"""The folder ``conf/``, read as a whole, checked as a whole: either a Configuration, or all its faults at once.

Each file is checked by its model; what concerns several tables or files is checked by ``consistency``.
"""

import hashlib
import re
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from mtaframe import consistency
from mtaframe.account import Account, Credential, Token
from mtaframe.account_settings import AccountsSettings
from mtaframe.explanation import Finding, explained, guess
from mtaframe.redaction import Redacted
from mtaframe.settings import Settings
from mtaframe.toml_position import Path as Place
from mtaframe.toml_position import positions

MAIN = "mtaframe.toml"
ACCOUNTS = "accounts.toml"

PluginConfigs = Callable[[Sequence[str]], Mapping[str, type[BaseModel] | str]]
"""For each plugin name the model of its file, or text that says why there is none."""

M = TypeVar("M", bound=BaseModel)

_WHERE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong in a file: ``conf/mtaframe.toml:12: listener.0.patience: a duration is written as …``."""

    file: str
    line: int | None
    key: str
    text: str
    kind: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        parts = [place, "warning" if self.kind == "warning" else "", self.key, self.text]
        return ": ".join(part for part in parts if part)


class ConfigError(Exception):
    """The configuration can't be used; ``faults`` has every error, and the warnings too."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(map(str, self.faults)))


@dataclass(frozen=True, slots=True, repr=False)
class Source(Redacted):
    """What the folder held at one moment: the octets of each ``*.toml`` by file name, and a digest of it all.

    Files that the configuration only refers to (certificates, keys, secrets) are not in it.
    """

    _shown = ("digest",)

    folder: Path
    files: Mapping[str, bytes]
    digest: str


@dataclass(frozen=True, slots=True, repr=False)
class Configuration(Redacted):
    """A configuration without errors. ``plugins`` holds each listed plugin's own, in the order of the list."""

    _shown = ("folder",)

    source: Source
    settings: Settings
    accounts: tuple[Account, ...]
    plugins: Mapping[str, BaseModel]
    warnings: tuple[Fault, ...]

    @property
    def folder(self) -> Path:
        return self.source.folder


def snapshot(folder: Path) -> Source:
    """Read every ``*.toml`` of the folder now. ConfigError if the folder or one of them can't be read."""
    files: dict[str, bytes] = {}
    faults: list[Fault] = []
    try:
        found = sorted(p for p in folder.iterdir() if p.suffix == ".toml" and not p.name.startswith("."))
    except OSError as error:
        raise ConfigError([Fault(str(folder), None, "", f"the folder can't be read: {error.strerror}")]) from None
    for path in found:
        try:
            files[path.name] = path.read_bytes()
        except OSError as error:
            faults.append(Fault(str(path), None, "", f"the file can't be read: {error.strerror}"))
    if faults:
        raise ConfigError(faults)
    digest = hashlib.blake2b(digest_size=16)
    for name, octets in files.items():
        digest.update(b"%d %b %d " % (len(name), name.encode(errors="surrogateescape"), len(octets)))
        digest.update(octets)
    return Source(folder, files, digest.hexdigest())


def load(source: Source, plugin_configs: PluginConfigs) -> Configuration:
    """The configuration of a snapshot. ConfigError has all faults of all files.

    A listed plugin without a file of its own has its defaults. Relative paths start at the folder.
    """
    main, accounts_file = _File(source, MAIN), _File(source, ACCOUNTS)
    if MAIN not in source.files:
        main.add(Finding((), "there is no such file"))
    settings = main.validated(Settings)
    accounts = accounts_file.validated(AccountsSettings)
    if settings:
        main.add(*consistency.of_settings(settings))
    if accounts:
        accounts_file.add(*consistency.of_accounts(accounts))
    if settings and accounts:
        main.add(*consistency.between(settings, accounts))
        accounts_file.add(*consistency.accounts_with(settings, accounts))
    listed = _listed(main.data)
    files = [main, accounts_file]
    plugins: dict[str, BaseModel] = {}
    for name, model in _models(listed, plugin_configs, main):
        file = _File(source, f"{name}.toml")
        files.append(file)
        if config := file.validated(model):
            plugins[name] = config
    others = source.files.keys() - {MAIN, ACCOUNTS} - {f"{name}.toml" for name in listed}
    files.extend(_unread(source, name, listed) for name in sorted(others))
    faults = [fault for file in files for fault in sorted(file.faults, key=lambda fault: fault.line or 0)]
    if settings is None or accounts is None or any(fault.kind == "error" for fault in faults):
        raise ConfigError(faults)
    return Configuration(source, settings, _accounts(accounts), plugins, tuple(faults))


def cross_faults(configuration: Configuration, transports: Mapping[str, bool]) -> list[Fault]:
    """What can be said only once the plugins are built: ``transports`` are all by name, True if test_only."""
    main = _File(configuration.source, MAIN)
    main.add(*consistency.with_transports(configuration.settings, transports))
    return main.faults


def plugin_warnings(
    configuration: Configuration,
    hooks: Mapping[str, Collection[str]],
    behind: Mapping[str, Collection[str]],
    serving: Collection[str],
) -> list[Fault]:
    """Plugins listed in another order than they work in, or that serve HTTP where nobody can ask.

    ``hooks`` are those that each one implements, ``behind`` names the plugins that it must stand behind, ``serving``
    those that have routes.
    """
    main = _File(configuration.source, MAIN)
    main.add(*consistency.with_hooks(configuration.settings, hooks))
    main.add(*consistency.with_order(configuration.settings, behind))
    main.add(*consistency.with_routes(configuration.settings, serving))
    return main.faults


class _File:
    """One file of a snapshot: its data, and the faults found so far. A file that isn't there is empty."""

    def __init__(self, source: Source, name: str) -> None:
        self.path = str(source.folder / name)
        self.folder = source.folder
        self.faults: list[Fault] = []
        self.lines: dict[Place, int] = {}
        self.data: dict[str, Any] | None = None
        octets = source.files.get(name, b"")
        try:
            text = octets.decode()
            self.data = tomllib.loads(text)
            self.lines = positions(text)
        except UnicodeDecodeError as error:
            self._syntax(octets.count(b"\n", 0, error.start) + 1, "the file is not UTF-8")
        except tomllib.TOMLDecodeError as error:
            found = _WHERE.search(str(error))
            at_end = len(octets.splitlines()) or 1
            line = int(found[1]) if found and found[1] else at_end
            self._syntax(line, f"not TOML: {_WHERE.sub('', str(error))}")
        except RecursionError:
            self._syntax(None, "not usable: nested too deeply")
        except ValueError:
            self._syntax(None, "not usable: a number is too long")

    def _syntax(self, line: int | None, text: str) -> None:
        self.data = None
        self.faults.append(Fault(self.path, line, "", text))

    def add(self, *findings: Finding) -> None:
        for finding in findings:
            self.faults.append(
                Fault(self.path, self._line(finding.path), _key(finding.path), finding.text, finding.kind)
            )

    def _line(self, path: Place) -> int | None:
        """The line of the place, or of the nearest table above that is written."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)

    def validated(self, model: type[M]) -> M | None:
        if self.data is None:
            return None
        try:
            return model.model_validate(self.data, context={"folder": self.folder})
        except ValidationError as error:
            self.add(*explained(error, model, self.data))
        except Exception as error:  # a validator of a plugin's own: its text might quote what it was given
            self.add(Finding((), f"the check of this file itself is faulty: {type(error).__name__}"))
        return None


def _key(path: Place) -> str:
    parts = map(str, path)
    return ".".join(part if _BARE_KEY.fullmatch(part) else f'"{part}"' for part in parts)


def _listed(data: Mapping[str, Any] | None) -> list[str]:
    """The plugin names, even if something else in the file is wrong: their files are to be checked all the same."""
    names = (data or {}).get("plugins", [])
    return list(dict.fromkeys(n for n in names if isinstance(n, str))) if isinstance(names, list) else []


def _models(listed: list[str], plugin_configs: PluginConfigs, main: _File) -> Iterator[tuple[str, type[BaseModel]]]:
    models = plugin_configs(listed)
    for name in listed:
        model = models.get(name, f'no plugin "{name}" is installed{guess(name, models)}')
        if f"{name}.toml" in (MAIN, ACCOUNTS):
            model = f'"{name}.toml" is the core\'s own file: no plugin can have this name'
        if isinstance(model, str):
            index = main.data["plugins"].index(name) if main.data else 0
            main.add(Finding(("plugins", index), model))
        else:
            yield name, model


def _unread(source: Source, name: str, listed: Sequence[str]) -> _File:
    """A file that nothing reads: its syntax is checked, and why it isn't read is said."""
    file = _File(source, name)
    stem = name.removesuffix(".toml")
    near = guess(stem, ["mtaframe", "accounts", *listed])
    file.add(Finding((), f'not read, for no plugin "{stem}" is listed{near}', "warning"))
    return file


def _accounts(settings: AccountsSettings) -> tuple[Account, ...]:
    return tuple(
        Account(
            account.name,
            account.parent,
            frozenset(account.domains),
            frozenset(account.streams),
            tuple(Credential(credential.user, credential.hash) for credential in account.credential),
            account.on_defer,
            tuple(Token(token.name, token.id, token.hash, token.dialect) for token in account.token),
            account.status,
            account.pool,
            account.per_hour,
            account.per_day,
            account.quota,
            account.limits,
        )
        for account in settings.account
    )
