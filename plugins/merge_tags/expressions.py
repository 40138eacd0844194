"""Expressions of the template language: from the tree that Jinja's parser makes to functions that are called.

The rule: what is not listed here does not exist. Nothing is looked up on a Python object, and nothing of Jinja runs.
"""

from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import nodes

from mtaframe_plugins.merge_tags import operations
from mtaframe_plugins.merge_tags.filters import FILTERS, TAKES_UNDEFINED, TESTS, Filter
from mtaframe_plugins.merge_tags.operations import UNDEFINED, Fault, joined, truth, used
from mtaframe_plugins.merge_tags.text import Values

LONGEST_RANGE = 10_000


class Scope:
    """The names that are known at a place: those of the copy, of the loops around it, and what was set."""

    __slots__ = ("names", "outer", "values")

    def __init__(self, names: dict[str, object], outer: "Scope | None", values: Values) -> None:
        self.names = names
        self.outer = outer
        self.values = values

    def find(self, name: str) -> object:
        scope: Scope | None = self
        while scope is not None:
            if name in scope.names:
                return scope.names[name]
            scope = scope.outer
        return UNDEFINED


Expression = Callable[[Scope], object]


class UnknownError(Exception):
    """Something that the language does not have. ``line`` is where it stands; the text is for the author."""

    def __init__(self, what: str, line: int) -> None:
        super().__init__(what)
        self.line = line


def expression(node: nodes.Node) -> Expression:
    make = _MAKERS.get(type(node))
    if make is None:
        raise UnknownError("there is no such expression here", node.lineno)
    return make(node)


def _constant(node: nodes.Const) -> Expression:
    value = node.value
    return lambda scope: value


def _name(node: nodes.Name) -> Expression:
    name = node.name
    return lambda scope: scope.find(name)


def _list(node: nodes.List | nodes.Tuple) -> Expression:
    items = [expression(item) for item in node.items]
    return lambda scope: tuple([item(scope) for item in items])


def _condition(node: nodes.CondExpr) -> Expression:
    test, then = expression(node.test), expression(node.expr1)
    other = expression(node.expr2) if node.expr2 is not None else lambda scope: UNDEFINED
    return lambda scope: then(scope) if truth(test(scope), scope.values) else other(scope)


def _arguments(node: nodes.Filter | nodes.Test | nodes.Call) -> tuple[list[Expression], dict[str, Expression]]:
    if node.dyn_args is not None or node.dyn_kwargs is not None:
        raise UnknownError("there is no such expression here", node.lineno)
    named = {one.key: expression(one.value) for one in node.kwargs if isinstance(one, nodes.Keyword)}
    return [expression(one) for one in node.args], named


def _filter(node: nodes.Filter) -> Expression:
    work = FILTERS.get(node.name)
    if work is None or node.node is None:
        raise UnknownError("there is no such filter", node.lineno)
    return _called(work, expression(node.node), node, takes_undefined=node.name in TAKES_UNDEFINED)


def _test(node: nodes.Test) -> Expression:
    work = TESTS.get(node.name)
    if work is None:
        raise UnknownError("there is no such test", node.lineno)
    return _called(work, expression(node.node), node, takes_undefined=True)


def _called(
    work: Filter, value: Expression, node: nodes.Filter | nodes.Test, *, takes_undefined: bool = False
) -> Expression:
    positional, named = _arguments(node)

    def called(scope: Scope) -> object:
        found = value(scope) if takes_undefined else used(value(scope), scope.values)
        arguments = [one(scope) for one in positional]
        return work(scope.values, found, *arguments, **{key: one(scope) for key, one in named.items()})

    return called


def _call(node: nodes.Call) -> Expression:
    """``range(…)`` and ``object.items()`` are all that can be called."""
    positional, named = _arguments(node)
    if isinstance(node.node, nodes.Getattr) and node.node.attr == "items" and not positional and not named:
        pairs, owner = FILTERS["items"], expression(node.node.node)
        return lambda scope: pairs(scope.values, used(owner(scope), scope.values))
    if not isinstance(node.node, nodes.Name) or node.node.name != "range" or named:
        raise UnknownError("there is no such function", node.lineno)

    def numbers(scope: Scope) -> object:
        found = range(*[operations.whole(one(scope)) for one in positional])
        if len(found) > LONGEST_RANGE:
            raise Fault(operations.TOO_LARGE)
        scope.values.work(0, len(found))
        return tuple(found)

    return numbers


def _member(node: nodes.Getattr) -> Expression:
    owner, key = expression(node.node), node.attr
    return lambda scope: operations.member(owner(scope), key, scope.values)


def _item(node: nodes.Getitem) -> Expression:
    owner = expression(node.node)
    if isinstance(node.arg, nodes.Slice):
        ends = [None if end is None else expression(end) for end in (node.arg.start, node.arg.stop, node.arg.step)]

        def cut(scope: Scope) -> object:
            start, stop, step = (None if end is None else end(scope) for end in ends)
            return operations.section(owner(scope), start, stop, step, scope.values)

        return cut
    key = expression(node.arg)
    return lambda scope: operations.member(owner(scope), key(scope), scope.values)


def _concatenated(node: nodes.Concat) -> Expression:
    pieces = [expression(one) for one in node.nodes]

    def concatenated(scope: Scope) -> object:
        texts = [operations.text(used(piece(scope), scope.values)) for piece in pieces]
        return joined(texts, scope.values)

    return concatenated


def _and(node: nodes.And) -> Expression:
    left, right = expression(node.left), expression(node.right)

    def both(scope: Scope) -> object:
        found = left(scope)
        return right(scope) if truth(found, scope.values) else found

    return both


def _or(node: nodes.Or) -> Expression:
    left, right = expression(node.left), expression(node.right)

    def either(scope: Scope) -> object:
        found = left(scope)
        return found if truth(found, scope.values) else right(scope)

    return either


def _not(node: nodes.Not) -> Expression:
    inner = expression(node.node)
    return lambda scope: not truth(inner(scope), scope.values)


def _binary(work: Callable[[object, object, Values], object]) -> "Callable[[Any], Expression]":
    def make(node: nodes.BinExpr) -> Expression:
        left, right = expression(node.left), expression(node.right)

        def reckoned(scope: Scope) -> object:
            values = scope.values
            return work(used(left(scope), values), used(right(scope), values), values)

        return reckoned

    return make


def _signed(node: nodes.Neg | nodes.Pos) -> Expression:
    inner, is_negative = expression(node.node), isinstance(node, nodes.Neg)

    def signed(scope: Scope) -> object:
        found = operations.number(used(inner(scope), scope.values))
        return -found if is_negative else found

    return signed


def _comparison(node: nodes.Compare) -> Expression:
    """``a < b <= c`` as in mathematics."""
    first = expression(node.expr)
    others = [(other.op, expression(other.expr)) for other in node.ops]

    def holds(scope: Scope) -> object:
        left = first(scope)
        for operator, other in others:
            right = other(scope)
            if not operations.compared(operator, left, right, scope.values):
                return False
            left = right
        return True

    return holds


_MAKERS: Mapping[type[nodes.Node], Callable[[Any], Expression]] = {
    nodes.Const: _constant,
    nodes.Name: _name,
    nodes.List: _list,
    nodes.Tuple: _list,
    nodes.CondExpr: _condition,
    nodes.Filter: _filter,
    nodes.Test: _test,
    nodes.Call: _call,
    nodes.Getattr: _member,
    nodes.Getitem: _item,
    nodes.Concat: _concatenated,
    nodes.And: _and,
    nodes.Or: _or,
    nodes.Not: _not,
    nodes.Neg: _signed,
    nodes.Pos: _signed,
    nodes.Compare: _comparison,
    nodes.Add: _binary(operations.added),
    nodes.Mul: _binary(operations.multiplied),
    nodes.Pow: _binary(operations.raised),
    **{kind: _binary(operations.reckoned(kind.__name__)) for kind in (nodes.Sub, nodes.Div, nodes.FloorDiv, nodes.Mod)},
}
