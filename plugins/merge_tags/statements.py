"""Statements of the template language: text, what is written into it, conditions, loops, names that are set."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from jinja2 import nodes

from mtaframe_plugins.merge_tags import writing
from mtaframe_plugins.merge_tags.expressions import Expression, Scope, UnknownError, expression
from mtaframe_plugins.merge_tags.operations import PLAIN, UNDEFINED, Encoded, Fault, Json, Markup, members, truth, used
from mtaframe_plugins.merge_tags.operations import text as text_of
from mtaframe_plugins.merge_tags.text import Values
from mtaframe_plugins.merge_tags.writing import Written

Statement = Callable[[Scope, list[str]], None]
"""Writes to the end of the list."""


class LineFault(Exception):
    """A fault and the line in which it is."""

    def __init__(self, what: str, line: int) -> None:
        super().__init__(what)
        self.line = line


class Statements:
    """Makes statements of a tree. ``written`` says, for each value written into the text, how; in their order."""

    def __init__(self, written: Iterator[Written], is_html: bool) -> None:
        self._written = written
        self._is_html = is_html
        self._makers: Mapping[type[nodes.Node], Callable[[Any], Statement]] = {
            nodes.Output: self._output,
            nodes.If: self._condition,
            nodes.For: self._loop,
            nodes.Assign: self._assignment,
        }

    def block(self, body: Sequence[nodes.Node]) -> Statement:
        statements = [self._statement(node) for node in body]
        if len(statements) == 1:
            return statements[0]

        def run(scope: Scope, out: list[str]) -> None:
            for statement in statements:
                statement(scope, out)

        return run

    def _statement(self, node: nodes.Node) -> Statement:
        make = self._makers.get(type(node))
        if make is None:
            raise UnknownError("there is no such statement here", node.lineno)
        return make(node)

    def _output(self, node: nodes.Output) -> Statement:
        pieces = [self._piece(one) for one in node.nodes]

        def run(scope: Scope, out: list[str]) -> None:
            for piece in pieces:
                piece(scope, out)

        return pieces[0] if len(pieces) == 1 else run

    def _piece(self, node: nodes.Node) -> Statement:
        if isinstance(node, nodes.TemplateData):
            return _plain(node.data)
        written = next(self._written, None)
        if written is None:
            raise UnknownError("there is no such statement here", node.lineno)
        value, is_html = at_line(expression(node), node.lineno), self._is_html

        def run(scope: Scope, out: list[str]) -> None:
            found = used(value(scope), scope.values)
            if found is UNDEFINED:
                found = ""
            try:
                out.append(_ready(found, written, is_html, scope.values))
            except Fault as fault:
                raise LineFault(str(fault), node.lineno) from None

        return run

    def _condition(self, node: nodes.If) -> Statement:
        branches = [
            (at_line(expression(each.test), each.lineno), self.block(each.body)) for each in (node, *node.elif_)
        ]
        other = self.block(node.else_)

        def run(scope: Scope, out: list[str]) -> None:
            for test, body in branches:
                if truth(test(scope), scope.values):
                    return body(scope, out)
            return other(scope, out)

        return run

    def _loop(self, node: nodes.For) -> Statement:
        if node.recursive:
            raise UnknownError("there is no such statement here", node.lineno)
        inner = expression(node.iter)
        whole = at_line(lambda scope: members(used(inner(scope), scope.values)), node.lineno)
        target, body = _target(node.target, node.lineno), self.block(node.body)
        other = self.block(node.else_)
        test = at_line(expression(node.test), node.lineno) if node.test is not None else None
        weight = weight_of(node)
        knows_loop = any(name.name == "loop" for name in node.find_all(nodes.Name))

        def run(scope: Scope, out: list[str]) -> None:
            values = scope.values
            found = whole(scope)
            scopes = []
            for each in found:
                values.work(0, weight)
                scopes.append(Scope(target(each), scope, values))
            if test is not None:
                scopes = [own for own in scopes if truth(test(own), values)]
            for index, own in enumerate(scopes):
                if knows_loop:
                    own.names["loop"] = _position(index, len(scopes))
                body(own, out)
            if not scopes:
                other(scope, out)

        return run

    def _assignment(self, node: nodes.Assign) -> Statement:
        if not isinstance(node.target, nodes.Name):
            raise UnknownError("only a name can be set", node.lineno)
        name, value = node.target.name, at_line(expression(node.node), node.lineno)

        def run(scope: Scope, out: list[str]) -> None:
            scope.names[name] = value(scope)

        return run


def at_line(inner: Expression, line: int) -> Any:
    """The expression, whose faults tell the line."""

    def run(scope: Scope) -> object:
        try:
            return inner(scope)
        except Fault as fault:
            raise LineFault(str(fault), line) from None
        except ZeroDivisionError:
            raise LineFault("this divides by zero", line) from None
        except (TypeError, ValueError, ArithmeticError):
            raise LineFault(PLAIN, line) from None

    return run


def weight_of(node: nodes.Node) -> int:
    return sum(1 for _ in node.find_all(nodes.Node))


def _plain(text: str) -> Statement:
    size = len(text)

    def run(scope: Scope, out: list[str]) -> None:
        scope.values.take(size)
        out.append(text)

    return run


def _ready(value: object, written: Written, is_html: bool, values: Values) -> str:
    """The value as it may stand at its place."""
    if (isinstance(value, Encoded) and value) or (isinstance(value, Json) and written is writing.in_json):
        ready = str(value)
    elif isinstance(value, Markup) and value and is_html:
        ready = writing.plain(value)
    else:
        plain = text_of(value)
        values.work(len(plain))
        ready = written(plain)
    values.take(len(ready))
    return ready


def _target(node: nodes.Node, line: int) -> Callable[[object], dict[str, object]]:
    """The names that a loop gives to one member."""
    if isinstance(node, nodes.Name):
        name = node.name
        return lambda value: {name: value}
    if not isinstance(node, nodes.Tuple) or not all(isinstance(item, nodes.Name) for item in node.items):
        raise UnknownError("a loop gives names to its members", line)
    names = [item.name for item in node.items if isinstance(item, nodes.Name)]

    def named(value: object) -> dict[str, object]:
        if not isinstance(value, (tuple, list)) or len(value) != len(names):
            raise LineFault(PLAIN, line)
        return dict(zip(names, value, strict=True))

    return named


def _position(index: int, length: int) -> Mapping[str, object]:
    return {
        "index": index + 1,
        "index0": index,
        "revindex": length - index,
        "revindex0": length - index - 1,
        "first": index == 0,
        "last": index == length - 1,
        "length": length,
    }
