"""Every small change of a source file: what `tests/mutants.py` demands that the tests notice."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Pow: ast.Mult,
}
PAIRS = (("min", "max"), ("minimum", "maximum"), ("all", "any"), ("less", "greater"), ("add", "subtract"))
NAMES = dict(PAIRS) | {b: a for a, b in PAIRS}
STATEMENTS = (ast.Expr, ast.Assign, ast.AugAssign, ast.Return, ast.Raise, ast.Break, ast.Continue)


class Mutant(NamedTuple):
    """One change: the number and the text of its line, what it was and what it is, and the whole changed source."""

    line: int
    text: str
    change: str
    source: str


def mutants(source: str) -> Iterator[Mutant]:
    """Every mutant of one file."""
    tree, lines = ast.parse(source), source.splitlines()
    for parent in ast.walk(tree):
        if isinstance(parent, ast.keyword) and parent.arg == "strict":
            continue  # of zip: what comes in has the same length, and says so
        for field, value in ast.iter_fields(parent):
            for index, node in enumerate(value if isinstance(value, list) else [value]):
                for other in _others(node):
                    _put(parent, field, index, other)
                    line = getattr(node, "lineno", 1)
                    change = f"{ast.unparse(node)}  →  {ast.unparse(other)}"
                    yield Mutant(line, lines[line - 1].strip(), change, ast.unparse(tree))
                    _put(parent, field, index, node)


def _put(parent: ast.AST, field: str, index: int, node: ast.AST) -> None:
    value = getattr(parent, field)
    if isinstance(value, list):
        value[index] = node
    else:
        setattr(parent, field, node)


def _others(node: object) -> Iterator[ast.AST]:
    """What may stand in the place of `node`."""
    if isinstance(node, ast.Compare):
        for index, op in enumerate(node.ops):
            for other in COMPARISONS[type(op)]:
                yield _with(node, ops=[*node.ops[:index], other(), *node.ops[index + 1 :]])
    elif isinstance(node, (ast.BinOp, ast.AugAssign)) and type(node.op) in OPERATORS:
        yield _with(node, op=OPERATORS[type(node.op)]())
    elif isinstance(node, ast.BoolOp):
        yield _with(node, op=ast.And() if isinstance(node.op, ast.Or) else ast.Or())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.Not, ast.Invert)):
        yield node.operand
    elif isinstance(node, ast.IfExp):
        yield node.body
        yield node.orelse
    elif isinstance(node, ast.Constant):
        yield from (_with(node, value=value) for value in _values(node.value))
    elif isinstance(node, (ast.Name, ast.Attribute)):
        field = "id" if isinstance(node, ast.Name) else "attr"
        if getattr(node, field) in NAMES:
            yield _with(node, **{field: NAMES[getattr(node, field)]})
    if isinstance(node, STATEMENTS) and not _says_only(node):
        yield ast.Pass()


def _with(node: ast.AST, **fields: Any) -> ast.AST:
    other = copy.copy(node)
    for name, value in fields.items():
        setattr(other, name, value)
    return other


def _values(value: object) -> tuple[object, ...]:
    if isinstance(value, bool):
        return (not value,)
    return (value + 1, value - 1) if isinstance(value, (int, float)) else ()


def _says_only(node: ast.AST) -> bool:
    """A docstring, or the bare name of a protocol's body."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
