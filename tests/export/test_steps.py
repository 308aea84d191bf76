"""How far long work is: steps of equal length, and within one the weights that were read."""

from __future__ import annotations

from functools import partial

import numpy as np
import onnx_ir as ir
import pytest

from export.initializers import lazily
from export.steps import Steps
from tests.export.by_hand import model, node, normal

Told = list[tuple[str, float]]


def steps(told: Told, *names: str) -> Steps:
    made = Steps(lambda what, part: told.append((what, part)), names[0])
    made.names = names
    return made


def test_each_step_is_as_long_as_another() -> None:
    told: Told = []
    made = steps(told, "a", "b", "c", "d")
    made.say(0.5)
    made.begin("b")
    made.say(0.5)
    made.begin("d")
    made.say(1.0)
    made.begin("done")
    assert told == [("a", 0.0), ("a", 0.125), ("b", 0.25), ("b", 0.375), ("d", 0.75), ("d", 1.0), ("done", 1.0)]


def test_nobody_need_listen() -> None:
    made = Steps(None, "a")
    made.begin("b")
    made.say(0.5)


def lazy(reads: list[str]) -> ir.Model:
    """Two layers of 16 and 48 numbers whose weights are told when they are read."""
    nodes = [node("MatMul", ["x", "small"], ["h"]), node("MatMul", ["h", "large"], ["y"])]
    whole = model(nodes, {"x": (2, 4)}, ("y",), {"small": normal(4, 4), "large": normal(4, 12)})

    def read(name: str, array: np.ndarray) -> np.ndarray:
        reads.append(name)
        return array

    for value in whole.graph.initializers.values():
        assert value.const_value is not None
        lazily(value, partial(read, str(value.name), value.const_value.numpy()))
    return whole


def test_weights_that_are_read_move_it() -> None:
    told: Told = []
    reads: list[str] = []
    made, whole = steps(told, "first", "graph"), lazy(reads)
    wanted = {str(v.name): v.const_value.numpy() for v in whole.graph.initializers.values() if v.const_value}
    made.begin("graph")
    reads.clear()
    made.count(whole.graph)
    assert reads == [], "counting reads nothing"
    for name in ("small", "large"):
        tensor = whole.graph.initializers[name].const_value
        assert tensor is not None
        np.testing.assert_array_equal(tensor.numpy(), wanted[name])
    assert reads == ["small", "large"]
    assert told[1:] == [("graph", 0.5), ("graph", 0.5 + 0.5 * 16 / 64), ("graph", 1.0)]


def test_a_weight_that_is_read_again_does_not_go_beyond_the_end() -> None:
    told: Told = []
    made, whole = steps(told, "graph", "after"), lazy([])
    made.count(whole.graph)
    tensor = whole.graph.initializers["large"].const_value
    assert tensor is not None
    for _ in range(5):
        tensor.numpy()
    assert [part for _, part in told] == pytest.approx([0.0, 0.375, 0.5, 0.5, 0.5, 0.5])
