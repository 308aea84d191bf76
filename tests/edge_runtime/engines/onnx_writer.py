"""ONNX files by hand, for installations without the onnx package. Field numbers are those of onnx.proto."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

FLOAT, UINT8, INT8, INT64, BOOL, BF16 = 1, 2, 3, 7, 9, 16


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def part(number: int, content: bytes | str | int) -> bytes:
    """A field: a number, or anything with a length."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    content = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(content)) + content


@dataclass(frozen=True)
class Op:
    """A node; `inner` is a graph in one of its attributes."""

    kind: str
    inputs: tuple[str, ...]
    out: str
    name: str = ""
    domain: str = ""
    inner: bytes = b""
    numbers: Mapping[str, int] = field(default_factory=dict)

    def __bytes__(self) -> bytes:
        attributes = [part(1, name) + part(3, value) + part(20, 2) for name, value in self.numbers.items()]
        if self.inner:
            attributes.append(part(1, "body") + part(6, self.inner) + part(20, 5))
        tensors = b"".join(part(1, name) for name in self.inputs) + part(2, self.out)
        return tensors + part(3, self.name) + part(4, self.kind) + repeated(5, attributes) + part(7, self.domain)


def repeated(number: int, parts: Iterable[bytes]) -> bytes:
    return b"".join(part(number, content) for content in parts)


def value(name: str, kind: int, shape: tuple[int, ...]) -> bytes:
    dims = repeated(1, (part(1, n) for n in shape))
    return part(1, name) + part(2, part(1, part(1, kind) + part(2, dims)))


Tensors = Mapping[str, tuple[int, tuple[int, ...]]]


def graph(
    ops: Iterable[Op], inputs: Tensors, outputs: Tensors, constants: Mapping[str, int | float] | None = None
) -> bytes:
    """`inputs` and `outputs`: name → element type and shape; `constants`: scalars, int64 and float32."""
    weights = [part(8, name) + _scalar(number) for name, number in (constants or {}).items()]
    sides = (repeated(n, (value(name, *k) for name, k in side.items())) for n, side in ((11, inputs), (12, outputs)))
    return part(2, "g") + repeated(1, map(bytes, ops)) + repeated(5, weights) + b"".join(sides)


def _scalar(number: float) -> bytes:
    if isinstance(number, int):
        return part(2, INT64) + part(7, number)
    return part(2, FLOAT) + part(4, struct.pack("<f", number))


def model(body: bytes, opset: int = 20) -> bytes:
    return part(1, 9) + part(7, body) + part(8, part(1, "") + part(2, opset))


def doubling(add: int = 1) -> bytes:
    """float32 [2, 3] x → y = x + x, `add` times over."""
    shape = (FLOAT, (2, 3))
    names = ["x", *(f"t{i}" for i in range(add - 1)), "y"]
    ops = [Op("Add", (a, a), b, f"node_{b}") for a, b in pairwise(names)]
    return model(graph(ops, {"x": shape}, {"y": shape}))
