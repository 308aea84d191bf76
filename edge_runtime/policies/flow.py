"""Flow matching policies (pi0): image → prefix → N Euler steps → actions, over graphs bound once to buffers.

The step graph reads the prefix graph's keys and values where they were written. Nothing is allocated by an inference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from edge_runtime.backends.base import Backend, Graph
from edge_runtime.bundle import Bundle, Normalisation, PolicySpec
from edge_runtime.errors import BundleError
from edge_runtime.policies.base import Floats, Frame, Observation, Prompt
from edge_runtime.tokenizer import PromptTokenizer

_CACHE = ("keys", "values", "prefix_mask")
"""What the step graph reads of the prefix graph."""


class Runner:
    """One flow policy. `steps` Euler steps an inference, 0 for as many as the bundle was verified with.

    Noise is drawn from a generator seeded with `seed`, or given to `infer`. `graphs` shows what the last inference
    left in every buffer.
    """

    def __init__(self, bundle: Bundle, backend: Backend, steps: int = 0, seed: int = 0) -> None:
        self._spec = spec = bundle.spec
        self._tokenizer = PromptTokenizer(bundle.path / bundle.manifest.tokenizer, spec.prompt)
        image = backend.load(bundle.graph("image"))
        prefix = backend.load(bundle.graph("prefix"), {"pixels": (image, "pixels")})
        step = backend.load(bundle.graph("step"), {name: (prefix, name) for name in _CACHE})
        self.graphs: dict[str, Graph] = {"image": image, "prefix": prefix, "step": step}
        self._cond = _constants(bundle, steps or spec.flow.steps)
        self._check(bundle)
        self._frames = {c.name: image.inputs[f"image.{c.name}"] for c in spec.cameras}
        self._camera_mask: NDArray[np.bool_] = prefix.inputs["camera_mask"][0]
        self._x: Floats = step.inputs["x_t"]
        self._change = np.empty_like(self._x)
        self._dt = np.float32((spec.flow.t_end - spec.flow.t_start) / len(self._cond))
        self._state = _Affine(spec.state_normalisation, spec.state.dims)
        self._action = _Affine(spec.action_normalisation, spec.action.dims)
        self._noise = np.random.default_rng(seed)

    @property
    def spec(self) -> PolicySpec:
        return self._spec

    @property
    def frames(self) -> Mapping[str, Frame]:
        return self._frames

    def prompt(self, instruction: str) -> Prompt:
        return self._tokenizer.encode(instruction)

    def infer(self, observation: Observation, chunk_out: Floats, noise: Floats | None = None) -> None:
        """As `Policy.infer`; `noise` [horizon, action.padded] replaces the generator's."""
        image, prefix, step = self.graphs["image"], self.graphs["prefix"], self.graphs["step"]
        self._observe(observation)
        image.run()
        prefix.run()
        if noise is None:
            self._noise.standard_normal(dtype=np.float32, out=self._x)
        else:
            np.copyto(self._x[0], noise)
        cond, velocity = step.inputs["cond"], step.outputs["velocity"]
        for row in self._cond:
            np.copyto(cond[0], row)
            step.run()
            np.multiply(velocity, self._dt, out=self._change)
            np.add(self._x, self._change, out=self._x)
        self._action.back(self._x[0, :, : self._spec.action.dims], chunk_out)

    def _observe(self, observation: Observation) -> None:
        """Put frames, prompt and normalised state where the graphs read them."""
        for i, (name, buffer) in enumerate(self._frames.items()):
            frame = observation.frames.get(name)
            self._camera_mask[i] = frame is not None
            if frame is not None and frame is not buffer:
                np.copyto(buffer, frame)
        prefix, step = self.graphs["prefix"], self.graphs["step"]
        np.copyto(prefix.inputs["tokens"][0], observation.prompt.tokens)
        np.copyto(prefix.inputs["token_mask"][0], observation.prompt.mask)
        self._state.forth(observation.state, step.inputs["state"][0, : self._spec.state.dims])

    def _check(self, bundle: Bundle) -> None:
        """Refuse graphs that are not what the manifest says of them."""
        spec = bundle.spec
        wanted: dict[str, dict[str, tuple[tuple[int, ...], type[Any]]]] = {
            "image": {f"image.{c.name}": ((c.height, c.width, 3), np.uint8) for c in spec.cameras},
            "prefix": {
                "camera_mask": ((1, len(spec.cameras)), np.bool_),
                "tokens": ((1, spec.prompt.max_tokens), np.int64),
                "token_mask": ((1, spec.prompt.max_tokens), np.bool_),
            },
            "step": {
                "state": ((1, spec.state.padded), np.float32),
                "x_t": ((1, spec.horizon, spec.action.padded), np.float32),
                "cond": ((1, self._cond.shape[1]), np.float32),
            },
        }
        for component, inputs in wanted.items():
            found = {name: (b.shape, b.dtype.type) for name, b in self.graphs[component].inputs.items()}
            for name in sorted({*inputs, *found}):
                if inputs.get(name) != found.get(name):
                    raise BundleError(
                        f"{bundle.graph(component)}: input {name} is {found.get(name)}, the manifest says "
                        f"{inputs.get(name)}; export the bundle again"
                    )


class _Affine:
    """One normalisation as two passes over float32 buffers, in place."""

    def __init__(self, spec: Normalisation, dims: int) -> None:
        none = spec.kind == "none"
        self._offset = np.zeros(dims, np.float32) if none else np.asarray(spec.a, np.float32)
        scale = np.ones(dims, np.float32) if none else np.asarray(spec.b, np.float32)
        self._divide, self._multiply = scale + np.float32(spec.eps_in), scale + np.float32(spec.eps_out)

    def forth(self, x: Floats, out: Floats) -> None:
        """Robot's units → the model's."""
        np.subtract(x, self._offset, out=out, casting="same_kind")
        np.divide(out, self._divide, out=out)

    def back(self, y: Floats, out: Floats) -> None:
        """The model's units → the robot's."""
        np.multiply(y, self._multiply, out=out)
        np.add(out, self._offset, out=out)


def _constants(bundle: Bundle, steps: int) -> Floats:
    """What the step graph must know of time at each of `steps` steps, float32 [steps, W]."""
    path = bundle.path / bundle.manifest.constants
    try:
        constants = load_file(path)
    except (SafetensorError, OSError) as error:
        raise BundleError(f"{path}: cannot be read ({error}); export the bundle again") from error
    table = constants.get(f"cond.{steps}")
    if table is None:
        raise BundleError(
            f"{path}: has nothing for {steps} flow steps; this bundle takes 1 to {bundle.spec.flow.steps}"
        )
    if table.dtype != np.float32 or table.ndim != 2 or len(table) != steps:
        raise BundleError(
            f"{path}: cond.{steps} is {table.dtype} {list(table.shape)}, expected float32 [{steps}, width]"
        )
    return np.asarray(table, np.float32)
