"""The same inference in PyTorch: the modules that the graphs come of, from the same frames, prompt and noise.

Image graph in float32, the model in `dtype`, the flow integrated in float32: as the bundle has it. `eager` is PyTorch
as it is; `compiled` is torch.compile with the whole inference captured as one CUDA graph, so that what is compared is
kernels and not launches. Everything runs on whatever device it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.gpu.bundle import image_graph
from benchmarks.gpu.weights import as_float, random_weights
from edge_runtime.bundle_spec import FlowSpec, PolicySpec, TokenSpec
from edge_runtime.policies.base import Observation
from export import reference
from export.checkpoint import Checkpoint
from export.family import family
from export.graphs import ModelGraph
from export.loading import empty_model
from export.weights import fill

Wrap = Callable[[Callable[..., Any]], Callable[..., Any]]
"""What is made of the two functions that an inference calls: nothing, or `torch.compile`."""


class Inference:
    """Buffers that never move, and what turns one into another: `write`, `upload`, `think`, `download`, in this order.

    `given`: what the CPU writes, page-locked where there is a GPU, by name; `found`: what comes back.
    """

    def __init__(self, source: Checkpoint, device: str, dtype: torch.dtype, wrap: Wrap = lambda f: f) -> None:
        self.spec: PolicySpec = source.spec
        self.device, self.dtype = torch.device(device), dtype
        model = empty_model(source)
        weights = random_weights(model)
        constants = _constants(source, model, weights)
        graphs = family(source.family).graphs(model, source)
        fill(model, {name: lambda read=read: read().to(self.device, dtype) for name, read in weights.items()})
        self.model = model.requires_grad_(False)
        self.image = image_graph(source).to(self.device).eval()
        self.first, self.again = graphs.values()
        self._see, self._next = wrap(self.see), wrap(self.next)
        examples = {**self.image.signature().inputs, **_own(self.first, "pixels"), **_state(self.again)}
        head = source.spec.head
        self._made = _Flow(self, head, constants) if isinstance(head, FlowSpec) else _Tokens(self, head, constants)
        examples |= self._made.examples
        self.given = {name: self._host(tensor) for name, tensor in examples.items()}
        self._on_device = {name: tensor.clone().to(self.device) for name, tensor in examples.items()}
        with torch.no_grad():
            self.found = {name: self._host(tensor) for name, tensor in self._made(self._on_device).items()}
        self._results: dict[str, Tensor] = {}

    def write(self, seen: Observation, noise: np.ndarray[Any, Any]) -> None:
        """Put an observation where `upload` takes it from."""
        values: dict[str, Any] = {f"image.{name}": frame for name, frame in seen.frames.items()}
        values |= {"tokens": seen.prompt.tokens[None], "token_mask": seen.prompt.mask[None], "x_t": noise[None]}
        for name, tensor in self.given.items():
            if name == "state":
                tensor.zero_()[0, : len(seen.state)] = torch.from_numpy(seen.state)
            elif name == "camera_mask":
                tensor.fill_(True)
            else:
                tensor.copy_(torch.from_numpy(values[name]))

    def upload(self) -> None:
        for name, tensor in self.given.items():
            self._on_device[name].copy_(tensor, non_blocking=True)

    @torch.no_grad()
    def think(self) -> None:
        self._results = self._made(self._on_device)

    def download(self) -> None:
        for name, tensor in self._results.items():
            self.found[name].copy_(tensor, non_blocking=True)

    def run(self) -> None:
        """All of it but `write`, put on the device's queue."""
        self.upload()
        self.think()
        self.download()

    def captured(self) -> Callable[[], None]:
        """`run` with `think` as one CUDA graph."""
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(3):
                self.think()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.think()

        def run() -> None:
            self.upload()
            graph.replay()
            self.download()

        return run

    def answer(self, seen: Observation, noise: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
        """What is made of one observation: "actions" [horizon, dims], or "tokens" [max_new] and "logits" [n]."""
        self.write(seen, noise)
        self.run()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return {name: tensor.numpy().copy() for name, tensor in self.found.items()}

    def to(self, dtype: torch.dtype) -> None:
        """Let the model compute in another type; what is captured or compiled does not."""
        self.dtype = dtype
        self.model.to(dtype)

    def see(self, frames: list[Tensor], rest: list[Tensor]) -> tuple[Tensor, ...]:
        """Image graph and the first graph."""
        return tuple(self.first(self._float(self.image(*frames)), *map(self._float, rest)))

    def next(self, inputs: list[Tensor]) -> tuple[Tensor, ...]:
        """The graph that runs again and again."""
        return tuple(self.again(*map(self._float, inputs)))

    def first_of(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Outputs of the first graph by name."""
        frames = [given[name] for name in self.image.signature().inputs]
        rest = [given[name] for name in self.first.signature().inputs if name != "pixels"]
        return dict(zip(self.first.signature().outputs, self._see(frames, rest), strict=True))

    def again_of(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Outputs of the other graph by name."""
        inputs = [given[name] for name in self.again.signature().inputs]
        return dict(zip(self.again.signature().outputs, self._next(inputs), strict=True))

    def _float(self, x: Tensor) -> Tensor:
        return x.to(self.dtype) if x.is_floating_point() else x

    def _host(self, tensor: Tensor) -> Tensor:
        made = torch.zeros(tensor.shape, dtype=tensor.dtype)
        return made.pin_memory() if self.device.type == "cuda" else made


class _Flow:
    """From noise to actions by Euler steps."""

    def __init__(self, inference: Inference, head: FlowSpec, constants: Mapping[str, Tensor]) -> None:
        self._inference = inference
        self._table = constants[f"cond.{head.steps}"].to(inference.device)
        self._dt = float(np.float32((head.t_end - head.t_start) / head.steps))
        self.examples = _own(inference.again, only=("x_t",))

    def __call__(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        read = {**given, **self._inference.first_of(given)}
        x = given["x_t"]
        for cond in self._table.split(1):
            velocity = self._inference.again_of({**read, "x_t": x, "cond": cond})["velocity"]
            x = x + velocity.float() * self._dt
        return {"actions": x[0, :, : self._inference.spec.action.dims]}


class _Tokens:
    """Prefill, then the best token each time, all of them."""

    def __init__(self, inference: Inference, head: TokenSpec, constants: Mapping[str, Tensor]) -> None:
        self._inference, self._most = inference, head.max_new
        self._ids = constants["token_ids"].to(inference.device)
        self.examples: dict[str, Tensor] = {}

    def __call__(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        found = self._inference.first_of(given)
        first, mask = found["logits"], found["prefix_mask"]
        place = mask.shape[1]
        read = {
            "keys": found["keys"],
            "values": found["values"],
            "cache_mask": torch.cat([mask, mask.new_zeros(1, self._most)], dim=1),
            "token": self._best(first),
        }
        written = [read["token"]]
        for slot in range(place, place + self._most - 1):
            found = self._inference.again_of(read)
            for name in ("keys", "values"):
                read[name][:, :, :, slot : slot + 1] = found[f"new_{name}"]
            read["cache_mask"][:, slot] = True
            read["token"] = self._best(found["logits"])
            written.append(read["token"])
        return {"tokens": torch.cat(written, dim=1)[0], "logits": first[0].float()}

    def _best(self, logits: Tensor) -> Tensor:
        return self._ids[logits.argmax(dim=1)][:, None]


def _own(graph: ModelGraph, without: str = "", only: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """Examples of inputs of a graph."""
    return {name: x for name, x in graph.signature().inputs.items() if name != without and (not only or name in only)}


def _state(graph: ModelGraph) -> dict[str, Tensor]:
    return _own(graph, only=("state",))


def _constants(source: Checkpoint, model: nn.Module, weights: Any) -> dict[str, Tensor]:
    with reference.reading(model, as_float(weights)), torch.no_grad():
        return family(source.family).constants(model, source)
