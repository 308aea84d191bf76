"""A sealed bundle of a flow policy whose graphs are ONNX files by hand, with probes that ONNX Runtime answered.

dx/dt = x + what it sees + its tokens + its state + t, each a mean, the same for every number.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from edge_runtime.backends import ort
from edge_runtime.bundle import open_bundle, seal
from edge_runtime.bundle_spec import Quantization
from edge_runtime.errors import BackendError
from edge_runtime.policies.runners import runner
from edge_runtime.probes import write_probes
from edge_runtime.verify import answer
from tests.edge_runtime import tiny_bundle
from tests.edge_runtime.engines.onnx_writer import BOOL, FLOAT, INT8, INT64, UINT8, Op, graph, model
from tests.edge_runtime.policies.arithmetic import flow_bundle

_ONE = (FLOAT, (1, 1, 1))
_TEXT = (1, tiny_bundle.SPEC.prompt.max_tokens)
_CACHE = {"keys": _ONE, "values": (FLOAT, (1, 1)), "prefix_mask": (BOOL, _TEXT)}


def image(relus: int = 0) -> bytes:
    """`pixels` are the sum of the frames' means, which so many Relu change nothing about."""
    cameras = {f"image.{c.name}": (UINT8, (c.height, c.width, 3)) for c in tiny_bundle.SPEC.cameras}
    ops = [op for name in cameras for op in _mean(name)]
    sums = ["sum", *(f"relu{i}" for i in range(1, relus)), *(["pixels"] if relus else [])]
    ops.append(Op("Add", tuple(f"{name}.mean" for name in cameras), sums[0] if relus else "pixels", "node_sum"))
    ops += [Op("Relu", (a,), b, f"node_{b}") for a, b in pairwise(sums)]
    return model(graph(ops, cameras, {"pixels": _ONE}))


def prefix() -> bytes:
    """Keys are pixels by the share of cameras that are there, values the mean of the tokens that count."""
    ops = [
        *_mean("camera_mask"),
        Op("Mul", ("pixels", "camera_mask.mean"), "keys"),
        Op("Cast", ("tokens",), "ids", numbers={"to": FLOAT}),
        Op("Cast", ("token_mask",), "counts", numbers={"to": FLOAT}),
        Op("Mul", ("ids", "counts"), "counted"),
        Op("ReduceMean", ("counted",), "values"),
        Op("Not", ("token_mask",), "prefix_mask"),
    ]
    given = {"pixels": _ONE, "camera_mask": (BOOL, (1, 2)), "tokens": (INT64, _TEXT), "token_mask": (BOOL, _TEXT)}
    return model(graph(ops, given, _CACHE))


def step(times: int = 1, quantized: bool = False) -> bytes:
    """The velocity, with t so many `times` in it; `quantized`: and a product (mm) of whole numbers (dq)."""
    spec = tiny_bundle.SPEC
    x = (FLOAT, (1, spec.horizon, spec.action.padded))
    given = {"x_t": x, "state": (FLOAT, (1, spec.state.padded)), "cond": (FLOAT, (1, 3)), **_CACHE}
    terms = ["x_t", "keys", "values", "state.mean", "prefix_mask.mean", *["cond.mean"] * times]
    ops = [op for name in ("state", "prefix_mask", "cond") for op in _mean(name)]
    if quantized:
        ops.append(Op("Cast", ("x_t",), "q", numbers={"to": INT8}))
        ops += [Op("DequantizeLinear", ("q", "scale"), "d", "dq"), Op("MatMul", ("cond", "d"), "p", "mm")]
        terms.append("p")
    sums = [terms[0], *(f"sum{i}" for i in range(2, len(terms))), "velocity"]
    ops += [Op("Add", (a, term), b, f"node_{b}") for (a, b), term in zip(pairwise(sums), terms[1:], strict=True)]
    return model(graph(ops, given, {"velocity": x}, {"scale": 0.5} if quantized else {}))


def _mean(name: str) -> Iterable[Op]:
    """`name.mean`, with as many axes."""
    yield Op("Cast", (name,), f"{name}.float", f"cast_{name}", numbers={"to": FLOAT})
    yield Op("ReduceMean", (f"{name}.float",), f"{name}.mean", f"mean_{name}")


def bundle(folder: Path, *graphs: bytes, **manifest: Any) -> Path:
    """The bundle, in `folder`. `graphs` replace the first ones; where they do not run, nothing answers the probes."""
    made = flow_bundle(folder)
    own = (image(), prefix(), step())
    for name, content in zip(made.manifest.graphs.values(), (*graphs, *own[len(graphs) :]), strict=True):
        (made.path / name).write_bytes(content)
    told = msgspec.structs.replace(made.manifest, **manifest)
    seal(made.path, told)
    with suppress(BackendError):
        policy = runner(open_bundle(made.path), ort.Engine())
        probes = [tiny_bundle.probe(made.spec, seed) for seed in range(2)]
        write_probes(made.path / told.probes, [replace(probe, actions=answer(policy, probe)[0]) for probe in probes])
        seal(made.path, told)
    return made.path


def quantized_for(bundle: Path, target: str) -> Path:
    """The bundle, said to be quantized for `target`."""
    manifest = open_bundle(bundle).manifest
    (bundle / "layers.json").write_text("{}")
    parts = {"expert": "fp32"}
    made = Quantization(
        target=target,
        origin="f" * 64,
        parts=parts,
        floats=parts,
        ranges="max",
        block=128,
        kept=0,
        table="layers.json",
    )
    seal(bundle, msgspec.structs.replace(manifest, quantization=made))
    return bundle
