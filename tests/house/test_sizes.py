"""Files beyond 400 lines and functions beyond 60 are named here. The list may only shrink."""

import ast
from collections.abc import Iterator

from tests.conftest import ROOT

FILE_LIMIT = 400
FUNCTION_LIMIT = 60

KNOWN: dict[str, int] = {}
"""What is too long, and how long it may be: take out what shrank, and never add or raise."""


def lengths() -> Iterator[tuple[str, int, int]]:
    """Every file and function with its length and the limit."""
    for folder in ("mtaframe", "plugins"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name, text = str(path.relative_to(ROOT)), path.read_text()
            yield name, len(text.splitlines()), FILE_LIMIT
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    assert node.end_lineno is not None
                    yield f"{name}: {node.name}", node.end_lineno - node.lineno + 1, FUNCTION_LIMIT


def test_nothing_grows_beyond_the_limits() -> None:
    too_long = {name: length for name, length, limit in lengths() if length > limit and length > KNOWN.get(name, limit)}
    assert too_long == {}, f"files above {FILE_LIMIT} or functions above {FUNCTION_LIMIT} lines: split them by purpose"


def test_the_list_only_shrinks() -> None:
    now = {name: length for name, length, limit in lengths() if length > limit}
    assert {name: length for name, length in KNOWN.items() if now.get(name) != length} == {}, (
        "these shrank: take them out of KNOWN, or lower their number"
    )
