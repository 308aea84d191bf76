"""Which nodes are layers, whose they are, and who shares an input."""

from __future__ import annotations

import onnx
import pytest

from export.layers import Layer, groups, layers, part_of, parts_of_nodes
from tests.export.by_hand import model, node, normal

V, B, E = "model.vision.", "model.language.layers.0.", "model.expert.layers.0."


@pytest.mark.parametrize(
    ("weight", "part"),
    [
        ("model.vision.layers.3.fc1.weight", "vision"),
        ("model.featurizer.blocks.0.attn.qkv.weight", "vision"),
        ("model.fused_featurizer.blocks.0.attn.qkv.weight", "vision"),
        ("model.language.embed_tokens.weight", "table"),
        ("model.language.layers.0.mlp.up_proj.weight", "backbone"),
        ("model.language.norm.weight", "backbone"),
        ("model.expert.layers.0.q_proj.weight", "expert"),
        ("model.multi_modal_projector.weight", "projections"),
        ("model.action_out_proj.weight", "projections"),
        ("model.head.weight", "projections"),
        ("model.languages.weight", "projections"),
        ("vision.weight", "projections"),
        ("val_7", "projections"),
    ],
)
def test_the_part_of_a_weight(weight: str, part: str) -> None:
    assert part_of(weight) == part


def found(*nodes: onnx.NodeProto, **weights: tuple[int, ...]) -> list[Layer]:
    """Layers of a graph x [1, 4, 8], s [4, 8] → y whose weights have these shapes; "_" stands for "." in names."""
    named = {name.replace("_", "."): normal(*shape) for name, shape in weights.items()}
    inputs = {"x": (1, 4, 8), "s": (4, 8)}
    return layers(model(list(nodes), inputs, ("y",), named).graph)


def test_a_matmul_and_its_channels() -> None:
    (layer,) = found(node("MatMul", ["x", "model.vision.a"], ["y"]), model_vision_a=(8, 3))
    assert (layer.name, layer.part, layer.out_axis, layer.width) == ("model.vision.a", "vision", 1, 8)
    assert (layer.x.name, layer.shape) == ("x", (8, 3))


@pytest.mark.parametrize(("transposed", "shape", "axis"), [(0, (8, 3), 1), (1, (3, 8), 0)])
def test_a_gemm_and_its_channels(transposed: int, shape: tuple[int, int], axis: int) -> None:
    gemm = node("Gemm", ["s", "model.expert.a", "model.expert.b"], ["y"], transB=transposed, alpha=0.5)
    (layer,) = found(gemm, model_expert_a=shape, model_expert_b=(3,))
    assert (layer.out_axis, layer.width, layer.part) == (axis, 8, "expert")


@pytest.mark.parametrize(
    ("made", "weights"),
    [
        (node("MatMul", ["x", "t"], ["y"]), {}),
        (node("MatMul", ["model.vision.a", "t"], ["y"]), {"model_vision_a": (3, 8)}),
        (node("MatMul", ["x", "model.vision.a"], ["y"]), {"model_vision_a": (1, 8, 3)}),
        (node("MatMul", ["x", "model.vision.a"], ["y"]), {"model_vision_a": (8,)}),
        (node("MatMul", ["x", "model.head.a"], ["y"]), {"model_head_a": (8, 3)}),
        (node("MatMul", ["x", "model.language.embed_tokens.a"], ["y"]), {}),
        (node("Gemm", ["s", "model.vision.a"], ["y"], transA=1), {"model_vision_a": (4, 3)}),
        (node("Add", ["x", "model.vision.a"], ["y"]), {"model_vision_a": (4, 8)}),
    ],
)
def test_what_is_no_layer(made: onnx.NodeProto, weights: dict[str, tuple[int, ...]]) -> None:
    table = {"model.language.embed_tokens.a": normal(8, 3)}
    named = {name.replace("_", "."): normal(*shape) for name, shape in weights.items()}
    whole = model([node("Transpose", ["s"], ["t"]), made], {"x": (1, 4, 8), "s": (4, 8)}, ("y",), {**named, **table})
    assert layers(whole.graph) == []


def test_layers_of_one_input_are_a_group_in_order() -> None:
    nodes = [
        node("MatMul", ["x", B + "q"], ["q"]),
        node("Relu", ["x"], ["r"]),
        node("MatMul", ["r", B + "gate"], ["g"]),
        node("MatMul", ["x", B + "k"], ["k"]),
        node("MatMul", ["r", B + "up"], ["u"]),
        node("Add", ["q", "k"], ["qk"]),
        node("Add", ["g", "u"], ["gu"]),
        node("Add", ["qk", "gu"], ["y"]),
    ]
    names = ("q", "k", "gate", "up")
    whole = model(nodes, {"x": (1, 4, 8)}, ("y",), {B + name: normal(8, 8) for name in names})
    assert [layer.name for layer in layers(whole.graph)] == [B + name for name in ("q", "gate", "k", "up")]
    grouped = [[layer.name for layer in group] for group in groups(layers(whole.graph))]
    assert grouped == [[B + "q", B + "k"], [B + "gate", B + "up"]]


def test_what_has_no_weight_belongs_where_its_latest_input_does() -> None:
    """Scores of the expert's queries and the backbone's keys are the expert's, whichever is computed first."""
    nodes = [
        node("Neg", ["x"], ["before"]),
        node("MatMul", ["x", B + "k"], ["k"]),
        node("MatMul", ["before", E + "q"], ["q"]),
        node("Transpose", ["k"], ["kt"], perm=[0, 2, 1]),
        node("MatMul", ["q", "kt"], ["scores"]),
        node("MatMul", ["k", V + "a"], ["v"]),
        node("Gather", ["model.language.embed_tokens.weight", "i"], ["t"]),
        node("MatMul", ["v", "model.head.a"], ["h"]),
        node("Add", ["t", "h"], ["th"]),
        node("Relu", ["scores"], ["y"]),
    ]
    names = (B + "k", E + "q", V + "a", "model.head.a", "model.language.embed_tokens.weight")
    whole = model(nodes, {"x": (1, 8, 8), "i": (1, 8)}, ("y", "th"), {name: normal(8, 8) for name in names})
    parts = {str(n.outputs[0].name): part for n, part in parts_of_nodes(whole.graph)}
    assert parts == {
        "before": "projections",
        "k": "backbone",
        "q": "expert",
        "kt": "backbone",
        "scores": "expert",
        "v": "vision",
        "t": "table",
        "h": "projections",
        "th": "projections",
        "y": "expert",
    }
