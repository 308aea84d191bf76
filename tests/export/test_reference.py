"""PyTorch in the place of the ONNX graphs: with weights in memory, read once, or read for every operation."""

from __future__ import annotations

import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edge_runtime.backends.base import Backend, Graph
from edge_runtime.errors import BackendError
from export import reference
from export.errors import CheckpointError
from export.weights import Weights
from tests.export import tiny
from tests.export.small import reading, small, small_meta
from tests.export.test_pieces import CACHE, chain
from tests.export.test_pieces import fill as fill_inputs
from tests.export.tiny_graphs import pi0_graphs, pi0_meta

X = Path("bundle/x.onnx")
"""Nothing has to be there: only its name counts."""


def run(module: nn.Module, weights: Weights | None, budget: int = 10**9) -> Graph:
    graph = reference.Engine({"x": (module, weights)}, budget=budget).load(X)
    fill_inputs(graph, 1)
    graph.run()
    return graph


def wanted(graph: Graph) -> Tensor:
    with torch.no_grad():
        logits: Tensor = small()(*(torch.from_numpy(buffer) for buffer in graph.inputs.values()))
    return logits


@pytest.mark.parametrize("budget", [10**9, 0])
def test_it_is_the_module(budget: int) -> None:
    for module, weights in ((small(), None), (small_meta(), reading(small()))):
        graph = run(module, weights, budget)
        assert list(graph.inputs) == ["tokens", "pixels"]
        assert torch.equal(torch.from_numpy(graph.outputs["logits"]), wanted(graph))


def test_nothing_runs_and_nothing_is_read_while_it_is_loaded() -> None:
    log: list[str] = []
    graph = reference.Engine({"x": (small_meta(), reading(small(), log))}).load(X)
    assert log == []
    logits = graph.outputs["logits"]
    assert logits.shape == (1, 40)
    assert logits.dtype == np.float32
    assert not logits.any()


def test_weights_that_fit_are_read_once_and_others_whenever_they_are_used() -> None:
    once = sorted(dict(small().named_parameters()))
    size = sum(p.numel() * 4 for p in small().parameters())
    for budget, kept in ((size, True), (size - 1, False)):
        log: list[str] = []
        graph = run(small_meta(), reading(small(), log), budget)
        assert (sorted(log) == once) is kept
        assert log.count("table.weight") == (1 if kept else 3)
        graph.run()
        assert (sorted(log) == once) is kept


def test_the_budget_is_for_all_graphs_together_and_counts_only_what_is_used() -> None:
    log: list[str] = []
    empty, weights = small_meta(), reading(small(), log)
    with torch.device("meta"):
        empty.extra = nn.Linear(10_000, 10_000)
    size = sum(p.numel() * 4 for p in small().parameters())
    engine = reference.Engine({"x": (empty, weights), "y": (empty, weights)}, budget=2 * size - 1)
    first, second = engine.load(X), engine.load(X.with_name("y.onnx"))
    first.run()
    first.run()
    assert log.count("mix.weight") == 1
    second.run()
    second.run()
    assert log.count("mix.weight") == 1 + 2 * 2, "two layers are one"


def test_the_module_keeps_no_weights() -> None:
    module = small_meta()
    before = {name: id(p) for name, p in module.named_parameters()}
    run(module, reading(small()), budget=0)
    assert {name: id(p) for name, p in module.named_parameters()} == before
    assert all(p.is_meta for p in module.parameters())


def test_a_weight_is_let_go_after_the_operation_when_they_do_not_fit() -> None:
    alive: set[str] = set()
    most: list[int] = []

    def watched(name: str, value: Tensor) -> Tensor:
        alive.add(name)
        most.append(len(alive))
        weakref.finalize(value, alive.discard, name)
        return value

    weights = {name: lambda n=name, r=read: watched(n, r()) for name, read in reading(small()).items()}
    run(small_meta(), weights, budget=0)
    assert not alive
    assert max(most) == 2, "a matrix and its bias"


@pytest.mark.parametrize("budget", [10**9, 0])
def test_a_chain_of_graphs(budget: int) -> None:
    model, empty = tiny.model(), pi0_meta()
    weights = {f"model.{name}": read for name, read in reading(model).items()}
    whole = {name: (graph, None) for name, graph in pi0_graphs(model).items()}
    read = {name: (graph, weights) for name, graph in pi0_graphs(empty).items()}
    one = chain(reference.Engine(whole), Path(), 1)
    two = chain(reference.Engine(read, budget=budget), Path(), 1)
    for name, values in one.items():
        np.testing.assert_array_equal(two[name], values, err_msg=name)
    assert np.abs(chain(reference.Engine(whole), Path(), 2)["second"] - one["second"]).max() > 1e-2


def test_what_is_wrong_is_said_in_one_line() -> None:
    engine: Backend = reference.Engine({"x": (small(), None)})
    with pytest.raises(BackendError, match="there is no module y; known are x"):
        engine.load(Path("y.onnx"))
    first = engine.load(X)
    with pytest.raises(BackendError, match=r"input tokens takes int64 .*, its feed gives float32"):
        engine.load(X, {"tokens": (first, "logits")})
    weights = {name: read for name, read in reading(small()).items() if name != "mix.bias"}
    graph = reference.Engine({"x": (small_meta(), weights)}).load(X)
    with pytest.raises(BackendError, match=r"x\.onnx: its module failed: ") as caught:
        graph.run()
    assert "\n" not in str(caught.value)


def test_what_a_weight_raises_is_what_is_raised() -> None:
    def broken() -> Tensor:
        raise CheckpointError("model.safetensors: mix.weight has values that are not finite")

    graph = reference.Engine({"x": (small_meta(), {**reading(small()), "mix.weight": broken})}).load(X)
    with pytest.raises(CheckpointError, match="not finite"):
        graph.run()


def test_a_part_of_a_module_without_weights_can_be_called() -> None:
    module, x = small_meta(), torch.randn(2, 24)
    log: list[str] = []
    with reference.reading(module, reading(small(), log)), torch.no_grad():
        made = module.mix(x)
    assert torch.equal(made, small().mix(x))
    assert sorted(log) == ["mix.bias", "mix.weight"]


def test_fed_inputs_are_the_other_graphs_memory() -> None:
    graphs = {name: (graph, None) for name, graph in pi0_graphs(tiny.model()).items()}
    engine = reference.Engine(graphs)
    prefix = engine.load(Path("prefix.onnx"))
    step = engine.load(Path("step.onnx"), {name: (prefix, name) for name in CACHE})
    fill_inputs(step, 1)
    step.run()
    before = step.outputs["velocity"].copy()
    prefix.outputs["values"][...] = 1.0
    prefix.outputs["prefix_mask"][...] = True
    step.run()
    assert np.abs(step.outputs["velocity"] - before).max() > 1e-3
