"""Bundles of policies whose graphs are arithmetic that a person can do, and the backend that stands in for a real one.

The bundles are sealed, with a tokenizer of letters and digits and the constants that their head needs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from edge_runtime.backends.base import Backend, Feeds, Graph
from edge_runtime.bundle import Bundle, open_bundle, seal
from edge_runtime.bundle_spec import GUIDE, Cost, Manifest, RegressionSpec
from tests.edge_runtime import tiny_bundle, tiny_tokenizer

Array = np.ndarray[Any, Any]
Buffers = dict[str, Array]
SPEC = tiny_bundle.SPEC
WIDTH = 3
"""Of `cond`."""


class Arithmetic(Graph):
    """A graph that is a function from its inputs to its outputs, in place."""

    def __init__(self, inputs: Buffers, outputs: Buffers, compute: Callable[[Buffers, Buffers], None]) -> None:
        self.inputs, self.outputs, self._compute = inputs, outputs, compute
        self.fed: Buffers = {}
        self.runs = 0

    def run(self) -> None:
        self.runs += 1
        self._compute({**self.inputs, **self.fed}, dict(self.outputs))


class Parts(Backend):
    """Loads `graphs` by file name. `change` spoils inputs of a graph: another buffer, or none."""

    def __init__(
        self, graphs: Mapping[str, Arithmetic], change: Mapping[str, Mapping[str, Array | None]] | None = None
    ) -> None:
        super().__init__()
        self.graphs = dict(graphs)
        for name, inputs in (change or {}).items():
            changed = {**self.graphs[name].inputs, **inputs}
            self.graphs[name].inputs = {key: buffer for key, buffer in changed.items() if buffer is not None}

    def load(self, path: Path, feeds: Feeds | None = None, inner: Collection[str] = ()) -> Arithmetic:
        graph = self.graphs[path.stem]
        graph.fed = {name: source.outputs[output] for name, (source, output) in (feeds or {}).items()}
        return graph


def serve(monkeypatch: pytest.MonkeyPatch, backend: Backend) -> None:
    """From now on `open_policy` has `backend`, whatever it is told."""
    monkeypatch.setattr("edge_runtime.policy.plugins.load", lambda *_: SimpleNamespace(Engine=lambda threads: backend))


# ── what every policy has ───────────────────────────────────────────────────────────────────────────────────────────


def image_graph() -> Arithmetic:
    """`pixels` are the mean of each frame."""
    frames = {f"image.{c.name}": np.zeros((c.height, c.width, 3), np.uint8) for c in SPEC.cameras}
    return Arithmetic(frames, {"pixels": np.zeros((1, 2), np.float32)}, _means)


def _means(given: Buffers, out: Buffers) -> None:
    out["pixels"][:] = [[given["image.base"].mean(), given["image.wrist"].mean()]]


def text(tokens: int = SPEC.prompt.max_tokens) -> Buffers:
    return {
        "camera_mask": np.zeros((1, 2), np.bool_),
        "tokens": np.zeros((1, tokens), np.int64),
        "token_mask": np.zeros((1, tokens), np.bool_),
    }


def _sealed(folder: Path, manifest: Manifest, constants: Buffers, spec: Mapping[str, Any]) -> Bundle:
    path = tiny_bundle.write(folder / "b", manifest, **spec)
    tiny_tokenizer.write(path / manifest.tokenizer)
    save_file(constants, path / manifest.constants)
    replace = msgspec.structs.replace
    seal(path, replace(manifest, spec=replace(manifest.spec, **spec)))
    return open_bundle(path)


# ── flow: dx/dt = pixels that count + tokens that count + 10·(sum of the state) + t, the same for every number ────────


def flow_bundle(folder: Path, **spec: Any) -> Bundle:
    """The tiny bundle; `cond` of n steps is t = 1, 1 - 1/n, …"""
    times = {n: 1.0 - np.arange(n, dtype=np.float32) / n for n in (1, 2, 3, 4)}
    table = {f"cond.{n}": np.repeat(t[:, None], WIDTH, 1) for n, t in times.items()}
    return _sealed(folder, tiny_bundle.MANIFEST, table, spec)


def flow_graphs(tokens: int = SPEC.prompt.max_tokens) -> dict[str, Arithmetic]:
    f = np.float32
    cache = {"keys": np.zeros(1, f), "values": np.zeros(1, f), "prefix_mask": np.zeros((1, 8), np.bool_)}
    step = {"state": np.zeros((1, 4), f), "x_t": np.zeros((1, 3, 5), f), "cond": np.zeros((1, WIDTH), f)}
    return {
        "image": image_graph(),
        "prefix": Arithmetic(text(tokens), cache, _remember),
        "step": Arithmetic(step, {"velocity": np.zeros((1, 3, 5), f)}, _drift),
    }


def _remember(given: Buffers, out: Buffers) -> None:
    out["keys"][:] = (given["pixels"] * given["camera_mask"]).sum()
    out["values"][:] = (given["tokens"] * given["token_mask"]).sum()
    out["prefix_mask"][:] = True


def _drift(given: Buffers, out: Buffers) -> None:
    state = given["state"].sum() if "state" in given else 0.0
    out["velocity"][:] = given["keys"] + given["values"] + 10.0 * state + given["cond"][0, 0]


def going_on_bundle(folder: Path, committed: int = 0, guided: bool = False, **spec: Any) -> Bundle:
    """The same, trained to be given `committed` rows (the clean end's `cond` is 7), with a guide graph if `guided`."""
    head = msgspec.structs.replace(SPEC.head, committed=committed)  # type: ignore[arg-type]
    made = flow_bundle(folder, head=head, **spec)
    manifest = made.manifest
    if committed:
        path = made.path / manifest.constants
        save_file({**load_file(path), "cond.clean": np.full((1, WIDTH), 7.0, np.float32)}, path)
    if guided:
        (made.path / "guide.onnx").write_bytes(b"this is guide.onnx")
        graphs = {**manifest.graphs, GUIDE: "guide.onnx"}
        costs = {**manifest.costs, GUIDE: Cost(178, "float32", 712, 9999)}
        manifest = msgspec.structs.replace(manifest, graphs=graphs, costs=costs)
    seal(made.path, manifest)
    return open_bundle(made.path)


def going_on_graphs(committed: bool = True) -> dict[str, Arithmetic]:
    """As `flow_graphs`; the step leaves committed rows alone, and there is a guide whose velocity is the step's."""
    made, f = flow_graphs(), np.float32
    plain, chunk = made["step"], (1, 3, 5)

    def step(given: Buffers, out: Buffers) -> None:
        _drift(given, out)
        out["velocity"][given["committed"]] = 0.0

    def guide(given: Buffers, out: Buffers) -> None:
        _drift(given, out)
        foretold = given["x_t"] + given["left"] * out["velocity"]
        out["correction"][:] = given["weight"] * (given["target"] - foretold)

    if committed:
        more = {"committed": np.zeros((1, 3), np.bool_), "clean": np.zeros((1, WIDTH), f)}
        made["step"] = Arithmetic({**plain.inputs, **more}, dict(plain.outputs), step)
    own = {name: np.zeros(chunk, f) for name in ("target", "weight")} | {"left": np.zeros(1, f)}
    like = {name: buffer.copy() for name, buffer in plain.inputs.items()}
    found = {name: np.zeros(chunk, f) for name in ("velocity", "correction")}
    return {**made, GUIDE: Arithmetic({**like, **own}, found, guide)}


# ── regression: the k-th action is (sum of the pixels + k, sum of the state) ────────────────────────────────────────


def regression_bundle(folder: Path, **spec: Any) -> Bundle:
    names = ("image", "model")
    manifest = msgspec.structs.replace(
        tiny_bundle.MANIFEST,
        graphs={name: f"{name}.onnx" for name in names},
        costs=dict.fromkeys(names, Cost(7, "float32", 28, 99)),
    )
    return _sealed(folder, manifest, {"nothing": np.zeros(1, np.float32)}, {"head": RegressionSpec(), **spec})


def regression_graphs(tokens: int = SPEC.prompt.max_tokens) -> dict[str, Arithmetic]:
    inputs = text(tokens) | {"state": np.zeros((1, 4), np.float32)}
    return {
        "image": image_graph(),
        "model": Arithmetic(inputs, {"actions": np.zeros((1, 3, 2), np.float32)}, _answer),
    }


def _answer(given: Buffers, out: Buffers) -> None:
    out["actions"][0, :, 0] = given["pixels"].sum() + np.arange(3)
    out["actions"][0, :, 1] = given["state"].sum() if "state" in given else 0.0


# ── tokens: what it is told to say, whatever it sees ────────────────────────────────────────────────────────────────


def token_graphs(token_ids: Sequence[int], says: Sequence[int]) -> dict[str, Arithmetic]:
    """For a bundle of `token_bundle.bins`; keys and values of no use, a prefix of one token."""
    f, ids, said, cache = np.float32, list(token_ids), list[int](), (1, 1, 1, 1 + len(says), 1)

    def speak(given: Buffers, out: Buffers) -> None:
        out["logits"][:] = -1.0
        out["logits"][0, ids.index(says[len(said)])] = 1.0
        said.append(says[len(said)])

    def begin(given: Buffers, out: Buffers) -> None:
        said.clear()
        out["prefix_mask"][:] = True
        speak(given, out)

    logits = {"logits": np.zeros((1, len(ids)), f)}
    prompt = {"tokens": np.zeros((1, 4), np.int64), "token_mask": np.zeros((1, 4), np.bool_)}
    whole = {name: np.zeros(cache, f) for name in ("keys", "values")} | {"prefix_mask": np.zeros((1, 1), np.bool_)}
    fed = {"token": np.zeros((1, 1), np.int64), "cache_mask": np.zeros((1, 1 + len(says)), np.bool_)}
    new = {name: np.zeros((1, 1, 1, 1, 1), f) for name in ("new_keys", "new_values")}
    frame = {"image.base": np.zeros((2, 2, 3), np.uint8)}
    return {
        "image": Arithmetic(frame, {"pixels": np.zeros((1, 1), f)}, lambda given, out: None),
        "prefill": Arithmetic(prompt, {name: b.copy() for name, b in logits.items()} | whole, begin),
        "decode": Arithmetic(fed, logits | new, speak),
    }
