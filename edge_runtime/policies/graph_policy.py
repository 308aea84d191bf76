"""What policies that run a bundle's graphs share: frames, prompt and state in, actions in the robot's units out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from edge_runtime.backends.base import Backend, Feeds, Graph
from edge_runtime.backends.program.program import Program, Watch
from edge_runtime.backends.program.steps import Run, Step
from edge_runtime.backends.program.tensor import Shaped, Tensor
from edge_runtime.bundle import Bundle
from edge_runtime.bundle_spec import PolicySpec
from edge_runtime.errors import BundleError, ObservationError
from edge_runtime.policies.affine import Affine
from edge_runtime.policies.base import Floats, Frame, Observation, Prompt
from edge_runtime.tokenizer import PromptTokenizer

Inputs = dict[str, tuple[tuple[int, ...], type[Any]]]
"""Name of a graph's input → its shape and type."""


class GraphPolicy(ABC):
    """Frames → image graph → `first` graph (prefix, prefill or model), with prompt and state; the rest is the head's.

    A subclass names its `first` graph, loads what else it needs, and turns an observation into `normalised` by programs
    over the graphs. Nothing is allocated by an inference, but for a prompt that tells the state in words.
    """

    first: str

    def __init__(self, bundle: Bundle, backend: Backend) -> None:
        self._spec = spec = bundle.spec
        self._bundle, self._backend = bundle, backend
        words = bundle.path / bundle.manifest.tokenizer if bundle.manifest.tokenizer else None
        self._tokenizer = PromptTokenizer(words, spec.prompt, spec.state.dims)
        self.graphs: dict[str, Graph] = {}
        """Every graph with what the last inference left in its buffers."""
        self.watch: Watch | None = None
        """Called after each run of a graph with its name. Steps are done one by one then."""
        self.normalised: Floats = np.zeros((spec.horizon, spec.action.dims), np.float32)
        """The last chunk as the model has it."""
        image = self._load("image")
        self._load(self.first, {"pixels": (image, "pixels")})
        self._frames: dict[str, Frame] = {name.removeprefix("image."): b for name, b in image.inputs.items()}
        self._state = Affine(spec.state_normalisation, spec.state.dims)
        self._state_normalised = np.zeros(spec.state.dims)
        self._action = Affine(spec.action_normalisation, spec.action.dims, spec.horizon)
        self._relative = np.asarray(spec.relative, np.float32) if any(spec.relative) else None
        self._offset: Floats = np.zeros(spec.action.dims, np.float32)

    @property
    def spec(self) -> PolicySpec:
        return self._spec

    @property
    def frames(self) -> Mapping[str, Frame]:
        return self._frames

    def prompt(self, instruction: str) -> Prompt:
        return self._tokenizer.encode(instruction)

    def prompt_from_tokens(self, tokens: NDArray[Any], mask: NDArray[Any]) -> Prompt:
        """A prompt that somebody else tokenized: ids and mask [n]."""
        return self._tokenizer.from_tokens(tokens, mask)

    def infer(self, observation: Observation, chunk_out: Floats) -> None:
        self._tell(observation.state)
        self._think(observation)
        self._action.back(self.normalised, chunk_out)
        if self._relative is not None:
            np.add(chunk_out, self._offset, out=chunk_out)

    @abstractmethod
    def _think(self, observation: Observation) -> None:
        """Fill `normalised` [horizon, dims], of what the graphs make of `observation`. They know its state already."""

    def _seen(self) -> tuple[Step, ...]:
        """How every program begins that looks at frames."""
        return Run("image", self.graphs["image"]), Run(self.first, self.graphs[self.first])

    def _load(self, name: str, feeds: Feeds | None = None, inner: Collection[str] = ()) -> Graph:
        self.graphs[name] = graph = self._backend.load(self._bundle.graph(name), feeds, inner)
        return graph

    def _run(self, program: Program, times: int = 1) -> None:
        program.run(times, self.watch)

    def _tell(self, state: Floats) -> None:
        """Put the normalised state where the graphs read it."""
        self._state.forth(state[: self._spec.state.dims], self._state_normalised)
        for graph in self.graphs.values():
            if "state" in graph.inputs:
                target = graph.inputs["state"][0, : self._spec.state.dims]
                np.copyto(target, self._state_normalised, casting="same_kind")
        if self._relative is not None:
            np.multiply(state[: len(self._offset)], self._relative, out=self._offset)

    def _see(self, observation: Observation) -> None:
        """Put frames and prompt where the graphs read them."""
        inputs = self.graphs[self.first].inputs
        for i, camera in enumerate(self._spec.cameras):
            self._show(i, observation.frames.get(camera.name), inputs.get("camera_mask"))
        prompt = self._tokenizer.with_state(observation.prompt, self._state_normalised)
        np.copyto(inputs["tokens"][0], prompt.tokens)
        np.copyto(inputs["token_mask"][0], prompt.mask)

    def _as_model(self, actions: Floats, out: Floats) -> None:
        """Actions [horizon, dims] in the robot's units → the model's, with the state that was told last."""
        if self._relative is None:
            self._action.forth(actions, out)
        else:
            np.subtract(actions, self._offset, out=out)
            self._action.forth(out, out)

    def _show(self, slot: int, frame: Frame | None, mask: NDArray[np.bool_] | None) -> None:
        camera = self._spec.cameras[slot]
        buffer = self._frames[camera.name]
        if frame is None and camera.missing == "refuse":
            raise ObservationError(f"camera {camera.name}: there is no frame, and this policy cannot do without one")
        if mask is not None:
            mask[0, slot] = frame is not None or camera.missing == "black"
        if frame is None:
            buffer.fill(0)
        elif frame is not buffer:
            np.copyto(buffer, frame)

    def _check(self, heads: Mapping[str, Inputs]) -> None:
        """Refuse graphs that are not what the manifest says; `heads` are the inputs that the head adds, by graph.

        The state may be read by any graph behind the image graph.
        """
        spec = self._spec
        wanted: dict[str, Inputs] = {name: {} for name in self.graphs}
        wanted["image"] = {f"image.{c.name}": ((c.height, c.width, 3), np.uint8) for c in spec.cameras}
        first = wanted[self.first]
        first["tokens"] = ((1, spec.prompt.max_tokens), np.int64)
        first["token_mask"] = ((1, spec.prompt.max_tokens), np.bool_)
        if any(c.missing == "mask" for c in spec.cameras):
            first["camera_mask"] = ((1, len(spec.cameras)), np.bool_)
        for component, more in heads.items():
            wanted[component] |= more
        for component, inputs in wanted.items():
            graph = self.graphs[component]
            given: dict[str, Shaped] = {**graph.inputs, **graph.inner}
            found = {name: (b.shape, b.dtype.type) for name, b in given.items()}
            if "state" in found and component != "image":
                inputs["state"] = ((1, spec.state.padded), np.float32)
            for name in sorted({*inputs, *found}):
                if found.get(name) != inputs.get(name):
                    raise BundleError(
                        f"{self._bundle.graph(component)}: input {name} is {found.get(name)}, the manifest says "
                        f"{inputs.get(name)}; export the bundle again"
                    )

    def output(self, name: str, output: str, dtype: type[Any], shape: tuple[int | None, ...]) -> Tensor:
        """An output of graph `name`; `BundleError` where it is not of that type and shape (None: any)."""
        graph = self.graphs[name]
        found = graph.tensor(output) if output in graph.outputs else None
        if found is not None and found.dtype == dtype and _fits(found.shape, shape):
            return found
        what = "missing" if found is None else f"{found.dtype} {list(found.shape)}"
        raise BundleError(
            f"{self._bundle.graph(name)}: output {output} is {what}, expected {np.dtype(dtype)} "
            f"{['any' if n is None else n for n in shape]}; export the bundle again"
        )


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(w in (None, n) for n, w in zip(shape, wanted, strict=True))


@contextmanager
def recorded(policy: GraphPolicy) -> Iterator[dict[str, list[NDArray[Any]]]]:
    """While the block runs, copy every output of every graph after each of its runs, by `graph.output`, in order."""
    seen: dict[str, list[NDArray[Any]]] = {}

    def watch(name: str, graph: Graph) -> None:
        for output, buffer in graph.outputs.items():
            seen.setdefault(f"{name}.{output}", []).append(buffer.copy())

    policy.watch = watch
    try:
        yield seen
    finally:
        policy.watch = None


def constants(bundle: Bundle) -> dict[str, NDArray[Any]]:
    """The bundle's constants by name; raise `BundleError` where the file cannot be read."""
    path = bundle.path / bundle.manifest.constants
    try:
        found: dict[str, NDArray[Any]] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise BundleError(f"{path}: cannot be read ({error}); export the bundle again") from error
    return found
