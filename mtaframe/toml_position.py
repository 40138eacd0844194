"""Where in a TOML file each key and each element stands: no TOML parser tells.

The text must have passed tomllib; that lets the walk be simple. One pass, so a long file costs no more per line
than a short one.
"""

import re
import tomllib
from collections.abc import Iterator

Path = tuple[str | int, ...]
"""Keys and indices from the top of the file, as pydantic names a place: ``("listener", 0, "patience")``."""

_TOKEN = re.compile(
    r'''
      (?P<text>   """(?:[^\\]|\\.)*?"""(?:"{0,2}) | \'\'\'.*?\'\'\'(?:'{0,2}) | "(?:[^"\\]|\\.)*" | '[^']*' )
    | (?P<gap>    [ \t]+ | \#[^\n]* )
    | (?P<end>    \n )
    | (?P<mark>   [\[\]{}=,.] )
    | (?P<bare>   [^\s\[\]{}=,."'\#]+ )
    ''',
    re.VERBOSE | re.DOTALL,
)

_Token = tuple[str, str, int]


def positions(text: str) -> dict[Path, int]:
    """The line, counted from 1, of every key, table and array element of a valid TOML text."""
    return _Walk(text.replace("\r\n", "\n")).lines


def _tokens(text: str) -> Iterator[_Token]:
    line = 1
    for found in _TOKEN.finditer(text):
        kind = str(found.lastgroup)
        if kind != "gap":
            yield kind, found[0], line
        line += found[0].count("\n")
    yield "stop", "", line


class _Walk:
    def __init__(self, text: str) -> None:
        self.lines: dict[Path, int] = {}
        self._last: dict[Path, int] = {}
        """For each array of tables, the index of its latest table: further headers speak of that one."""
        self._rest = _tokens(text)
        self._token = next(self._rest)
        self._file()

    def _next(self) -> _Token:
        """Step over the current token; past the end there is only the end."""
        token = self._token
        self._token = next(self._rest, token)
        return token

    def _is(self, *marks: str) -> bool:
        return self._token[0] in ("mark", "end", "stop") and self._token[1] in marks

    def _file(self) -> None:
        table: Path = ()
        while self._token[0] != "stop":
            if self._is("["):
                table = self._header()
            elif self._token[0] in ("text", "bare"):
                self._pair(table)
            else:
                self._next()

    def _header(self) -> Path:
        line = self._next()[2]
        if many := self._is("["):
            self._next()
        *above, last = self._keys()
        table: Path = ()
        for key in above:
            table = self._inside((*table, key), line)
        table = (*table, last)
        if many:
            self._last[table] = self._last.get(table, -1) + 1
        return self._inside(table, line)

    def _inside(self, table: Path, line: int) -> Path:
        self.lines.setdefault(table, line)
        if table in self._last:
            table = (*table, self._last[table])
            self.lines.setdefault(table, line)
        return table

    def _pair(self, table: Path) -> None:
        line = self._token[2]
        for key in self._keys():
            table = (*table, key)
            self.lines.setdefault(table, line)
        self._value(table)

    def _keys(self) -> list[str]:
        """The parts of a dotted key, up to and over what ends it: an equals sign or a bracket."""
        keys = []
        while True:
            kind, text, _ = self._next()
            if kind == "text":
                keys.append(_unquoted(text))
            elif kind == "bare":
                keys.append(text)
            elif text != ".":
                return keys

    def _value(self, path: Path) -> None:
        if self._is("["):
            self._array(path)
        elif self._is("{"):
            self._inline_table(path)
        else:
            while not self._is(",", "]", "}", "\n", ""):
                self._next()

    def _array(self, path: Path) -> None:
        self._next()
        count = 0
        while not self._is("]", ""):
            if self._is(",", "\n"):
                self._next()
                continue
            self.lines[*path, count] = self._token[2]
            self._value((*path, count))
            count += 1
        self._next()

    def _inline_table(self, path: Path) -> None:
        self._next()
        while not self._is("}", ""):
            if self._is(",", "\n"):
                self._next()
            else:
                self._pair(path)
        self._next()


def _unquoted(text: str) -> str:
    return text[1:-1] if text.startswith("'") else str(tomllib.loads(f"key = {text}")["key"])
