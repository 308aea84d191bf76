"""JSON schema of a configuration, for editors: types and limits from the structures, descriptions from their texts."""

from __future__ import annotations

import ast
import inspect
import itertools
import sys
from typing import Any

import msgspec


def schema(root: type[msgspec.Struct]) -> dict[str, Any]:
    """JSON schema (draft 2020-12) of `root` and every structure under it that its module defines."""
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(root)}
    texts = _field_texts(root.__module__)
    for name, definition in document["$defs"].items():
        for field, text in texts.get(name, {}).items():
            definition["properties"][field]["description"] = text
    return document


def _field_texts(module: str) -> dict[str, dict[str, str]]:
    """For each class of `module`, the text that stands under each of its fields."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: _under_fields(node.body) for node in tree.body if isinstance(node, ast.ClassDef)}


def _under_fields(body: list[ast.stmt]) -> dict[str, str]:
    texts = {}
    for statement, after in itertools.pairwise(body):
        match statement, after:
            case ast.AnnAssign(target=ast.Name(id=field)), ast.Expr(value=ast.Constant(value=str(text))):
                texts[field] = inspect.cleandoc(text)
    return texts
