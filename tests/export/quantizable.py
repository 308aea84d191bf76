"""Bundles whose graphs are written by hand, small enough to be quantized in a blink, and recordings to do it with.

A regression policy of eight layers: vision `a`; backbone `q`, `k` and `down` behind a norm; expert `up`, and `gate` and
`out` behind another one. A token policy whose decode graph has prefill's layers and one of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from benchmarks.recordings import step, write_recording
from edge_runtime.bundle import Bundle, open_bundle, seal
from edge_runtime.bundle_spec import PolicySpec
from export.onnx_file import check_onnx
from tests.edge_runtime.policies import token_bundle
from tests.edge_runtime.policies.arithmetic import regression_bundle
from tests.export.by_hand import Array, Floats, node, normal

V, B, E = "model.vision.", "model.language.layers.0.", "model.expert.layers.0."
TABLE, HEAD = "model.language.embed_tokens.weight", "model.head.weight"
FLOAT, INT64, UINT8, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.UINT8, TensorProto.BOOL
LAYERS = (V + "a", B + "q", B + "k", B + "down", E + "up", E + "gate", E + "out")
WORDS = "pick up"
Weights = dict[str, Floats]
Spoil = Callable[[Weights], Any]


def keep(weights: Weights) -> None:
    """Spoils nothing."""


def write_graph(
    path: Path,
    nodes: Iterable[onnx.NodeProto],
    inputs: Mapping[str, tuple[int, Iterable[int]]],
    outputs: Mapping[str, tuple[int, Iterable[int]]],
    weights: Mapping[str, Array],
) -> None:
    """A graph file that export could have written."""
    sides = [[helper.make_tensor_value_info(name, *told) for name, told in side.items()] for side in (inputs, outputs)]
    constants = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    named = [*nodes]
    for i, one in enumerate(named):
        one.name = f"node_{i}"
    graph = helper.make_graph(named, path.stem, *sides, constants)
    whole = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.save(onnx.shape_inference.infer_shapes(whole, strict_mode=True, data_prop=True), str(path))
    check_onnx(path)


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


# ── regression ──────────────────────────────────────────────────────────────────────────────────────────────────────


def regression(folder: Path, spoil: Spoil = keep) -> Bundle:
    """The policy of `arithmetic.regression_bundle`, whose graphs compute something; `spoil` changes its weights."""
    bundle = regression_bundle(folder)
    frames = {f"image.{c.name}": (UINT8, (c.height, c.width, 3)) for c in bundle.spec.cameras}
    image_graph(bundle.path / "image.onnx", frames)
    weights = {
        V + "a": normal(16, 16, seed=1) / 4,
        TABLE: normal(40, 16, seed=2) / 2,
        B + "norm": 1.0 + normal(16, seed=3) / 4,
        B + "q": normal(16, 32, seed=4) / 4,
        B + "k": normal(16, 32, seed=5) / 4,
        B + "down": normal(16, 32, seed=6) / 6,
        E + "up": normal(16, 32, seed=7) / 4,
        E + "norm": 1.0 + normal(32, seed=8) / 4,
        E + "gate": normal(32, 32, seed=9) / 6,
        E + "out": normal(32, 32, seed=10) / 6,
        "model.state_proj.weight": normal(4, 32, seed=11) / 4,
        HEAD: normal(32, 6, seed=12) / 6,
    }
    spoil(weights)
    nodes = [
        node("MatMul", ["pixels", V + "a"], ["patches"]),
        node("Gather", [TABLE, "tokens"], ["words"]),
        node("Concat", ["patches", "words"], ["prefix"], axis=1),
        node("Mul", ["prefix", B + "norm"], ["normed"]),
        node("MatMul", ["normed", B + "q"], ["q"]),
        node("MatMul", ["normed", B + "k"], ["k"]),
        node("Tanh", ["k"], ["bent"]),
        node("Mul", ["q", "bent"], ["both"]),
        node("Reshape", ["both", "rows"], ["flat"]),
        node("Gemm", ["flat", B + "down"], ["down"], transB=1),
        node("MatMul", ["down", E + "up"], ["up"]),
        node("Mul", ["up", E + "norm"], ["again"]),
        node("MatMul", ["again", E + "gate"], ["gate"]),
        node("MatMul", ["again", E + "out"], ["out"]),
        node("Add", ["gate", "out"], ["sum"]),
        node("ReduceMean", ["sum", "first"], ["mean"], keepdims=1),
        node("MatMul", ["state", "model.state_proj.weight"], ["known"]),
        node("Add", ["mean", "known"], ["hidden"]),
        node("MatMul", ["hidden", HEAD], ["six"]),
        node("Reshape", ["six", "chunk"], ["actions"]),
    ]
    inputs = {
        "pixels": (FLOAT, (1, 4, 16)),
        "camera_mask": (BOOL, (1, 2)),
        "tokens": (INT64, (1, 8)),
        "token_mask": (BOOL, (1, 8)),
        "state": (FLOAT, (1, 4)),
    }
    shapes = {"rows": ints(12, 32), "first": ints(0), "chunk": ints(1, 3, 2)}
    write_graph(bundle.path / "model.onnx", nodes, inputs, {"actions": (FLOAT, (1, 3, 2))}, {**weights, **shapes})
    return sealed(bundle)


def image_graph(path: Path, frames: Mapping[str, tuple[int, tuple[int, ...]]]) -> None:
    """`pixels` [1, 4, 16] are mixtures of all that is seen."""
    sizes = {name: int(np.prod(shape)) for name, (_, shape) in frames.items()}
    nodes = [node("Cast", [name], [f"{name}.float"], to=FLOAT) for name in sizes]
    nodes += [node("Reshape", [f"{name}.float", f"{name}.flat"], [f"{name}.row"]) for name in sizes]
    nodes += [
        node("Concat", [f"{name}.row" for name in sizes], ["seen"], axis=1),
        node("MatMul", ["seen", "mix"], ["mixed"]),
        node("Reshape", ["mixed", "patches"], ["pixels"]),
    ]
    total = sum(sizes.values())
    weights: dict[str, Array] = {f"{name}.flat": ints(1, size) for name, size in sizes.items()}
    weights |= {"mix": normal(total, 64) / (128 * total**0.5), "patches": ints(1, 4, 16)}
    write_graph(path, nodes, frames, {"pixels": (FLOAT, (1, 4, 16))}, weights)


def sealed(bundle: Bundle) -> Bundle:
    """The same again, its files as they are now."""
    seal(bundle.path, bundle.manifest)
    return open_bundle(bundle.path)


# ── tokens ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def tokens(folder: Path, stops: bool = False, spoil: Spoil = keep) -> Bundle:
    """A policy that writes six numbers, or, where it `stops`, nothing: its decode graph never runs then."""
    bundle = token_bundle.integers(folder) if stops else token_bundle.bins(folder)
    image_graph(bundle.path / "image.onnx", {"image.base": (UINT8, (2, 2, 3))})
    ids, room = (len(token_bundle.WORDS), 40) if stops else (5, 6)
    shared = {
        TABLE: normal(400, 16, seed=2),
        B + "norm": 1.0 + normal(16, seed=3) / 4,
        B + "q": normal(16, 32, seed=4) / 4,
        B + "k": normal(16, 32, seed=5) / 4,
        B + "down": normal(32, 16, seed=6) / 5,
        HEAD: normal(16, ids, seed=7),
    }
    more = {V + "a": normal(16, 16, seed=1) / 4, "bias": np.zeros(ids, np.float32)}
    if stops:
        more["bias"][token_bundle.ID["<eos>"]] = 1e3
    own = {B + "late": normal(16, 16, seed=8) / 4}
    for weights in (shared, more, own):
        spoil(weights)
    layers = [
        node("Mul", ["x", B + "norm"], ["normed"]),
        node("MatMul", ["normed", B + "q"], ["q"]),
        node("MatMul", ["normed", B + "k"], ["k"]),
        node("Mul", ["q", "k"], ["both"]),
        node("MatMul", ["both", B + "down"], ["last"]),
    ]
    length = 8 + room
    prefill = [
        node("MatMul", ["pixels", V + "a"], ["patches"]),
        node("Gather", [TABLE, "tokens"], ["words"]),
        node("Concat", ["patches", "words"], ["x"], axis=1),
        *layers,
        node("ReduceMean", ["last", "axis"], ["mean"], keepdims=0),
        node("MatMul", ["mean", HEAD], ["scores"]),
        node("Add", ["scores", "bias"], ["logits"]),
        node("Reshape", ["last", "cache"], ["rows"]),
        node("Pad", ["rows", "pads"], ["keys"]),
        node("Neg", ["keys"], ["values"]),
        node("And", ["token_mask", "token_mask"], ["valid"]),
        node("Concat", ["valid", "valid"], ["prefix_mask"], axis=1),
    ]
    cache = dict.fromkeys(("keys", "values"), (FLOAT, (1, 1, 1, length, 16)))
    write_graph(
        bundle.path / "prefill.onnx",
        prefill,
        {"pixels": (FLOAT, (1, 4, 16)), "tokens": (INT64, (1, 4)), "token_mask": (BOOL, (1, 4))},
        {"logits": (FLOAT, (1, ids)), **cache, "prefix_mask": (BOOL, (1, 8))},
        {**shared, **more, "axis": ints(1), "cache": ints(1, 1, 1, 8, 16), "pads": ints(*[0] * 8, room, 0)},
    )
    decode = [
        node("Gather", [TABLE, "token"], ["word"]),
        node("ReduceMean", ["keys", "axes"], ["past"], keepdims=0),
        node("Add", ["word", "past"], ["x"]),
        *layers,
        node("MatMul", ["last", B + "late"], ["later"]),
        node("Reshape", ["later", "row"], ["one"]),
        node("MatMul", ["one", HEAD], ["logits"]),
        node("Reshape", ["later", "cache"], ["new_keys"]),
        node("Neg", ["new_keys"], ["new_values"]),
    ]
    new = dict.fromkeys(("new_keys", "new_values"), (FLOAT, (1, 1, 1, 1, 16)))
    write_graph(
        bundle.path / "decode.onnx",
        decode,
        {"token": (INT64, (1, 1)), "cache_mask": (BOOL, (1, length)), **cache},
        {"logits": (FLOAT, (1, ids)), **new},
        {**shared, **own, "axes": ints(0, 1, 2, 3), "row": ints(1, 16), "cache": ints(1, 1, 1, 1, 16)},
    )
    return sealed(bundle)


# ── what they are shown ─────────────────────────────────────────────────────────────────────────────────────────────


def recording(
    folder: Path,
    spec: PolicySpec,
    words: str = WORDS,
    episodes: int = 4,
    steps: int = 4,
    change: Callable[[Array, dict[str, Array]], Any] = lambda state, frames: None,
) -> Path:
    """A recording of random states and pictures, which `change` spoils in place."""
    rng = np.random.default_rng(0)

    def made(t_s: float) -> Any:
        state = rng.standard_normal(spec.state.dims).astype(np.float32)
        frames = {c.name: rng.integers(0, 256, (c.height, c.width, 3), np.uint8) for c in spec.cameras}
        change(state, frames)
        return step(t_s, words, state, rng.standard_normal((spec.horizon, spec.action.dims)), frames)

    return write_recording(folder, "tiny", spec, [[made(i / 10) for i in range(steps)] for _ in range(episodes)])


def graph_of(bundle: Bundle, name: str) -> ir.Model:
    return ir.load(bundle.graph(name))


def changed(spec: PolicySpec, **fields: Any) -> PolicySpec:
    replaced: PolicySpec = msgspec.structs.replace(spec, **fields)
    return replaced
