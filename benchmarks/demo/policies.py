"""The demo policy as the evaluation runs it: in PyTorch, many episodes at once, or from its bundle, one by one.

Both see the same frames and start from the same noise, which belongs to the episode and the inference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.demo.rollout import Episode
from drivers.sim.arm import Floats
from drivers.sim.render import HEIGHT, NAMES, WIDTH
from edge_runtime.backends import ort
from edge_runtime.bundle import open_bundle
from edge_runtime.bundle_spec import FlowSpec
from edge_runtime.policies.base import Observation
from edge_runtime.policies.flow import Runner
from edge_runtime.tokenizer import PromptTokenizer
from export import layouts, torch_graph
from export.image import ImageGraph
from export.layouts.options import Options
from export.loading import load_model
from export.models.flow import flow_times
from export.models.pi0 import Pi0

Eyes = Literal["open", "blanked", "masked"]
"""What the policy sees: the cameras, black frames, or no camera at all (every image token masked)."""
_GROUP = 32


class Noise:
    """The noise of an episode's n-th inference, the same whatever policy asks for it."""

    def __init__(self, horizon: int, padded: int) -> None:
        self._shape = (horizon, padded)
        self._asked: Counter[int] = Counter()

    def draw(self, episode: Episode) -> NDArray[np.float32]:
        """float32 [horizon, padded]."""
        seed = episode.world.seed
        self._asked[seed] += 1
        return np.random.default_rng([seed, self._asked[seed]]).standard_normal(self._shape, np.float32)


class Look:
    """Renders what an episode's cameras see, into frames that are used again for the next one."""

    def __init__(self, eyes: Eyes) -> None:
        self._eyes = eyes
        self._frames = {name: np.zeros((HEIGHT, WIDTH, 3), np.uint8) for name in NAMES}

    def at(self, episode: Episode) -> Mapping[str, NDArray[np.uint8]]:
        """Camera name → uint8 [480, 640, 3]; nothing where the cameras are masked."""
        if self._eyes == "masked":
            return {}
        if self._eyes == "open":
            snapshot = episode.world.snapshot()
            for name, frame in self._frames.items():
                snapshot.render(name, frame)
        return self._frames


class InTorch:
    """The checkpoint in PyTorch, float32."""

    def __init__(self, directory: Path, eyes: Eyes = "open") -> None:
        checkpoint = layouts.read(directory, Options())
        self._spec, self._look = checkpoint.spec, Look(eyes)
        self._model = cast(Pi0, load_model(checkpoint))
        self._image = ImageGraph({c.name: (c.height, c.width) for c in self._spec.cameras}, checkpoint.image)
        self._tokenizer = PromptTokenizer(checkpoint.tokenizer, self._spec.prompt)
        self._noise = Noise(self._spec.horizon, self._spec.action.padded)

    def __call__(self, episodes: list[Episode]) -> list[Floats]:
        groups = [episodes[i : i + _GROUP] for i in range(0, len(episodes), _GROUP)]
        return [chunk for group in groups for chunk in self._infer(group)]

    @torch.no_grad()
    def _infer(self, episodes: list[Episode]) -> list[Floats]:
        spec, model = self._spec, self._model
        size, slots = model.config.vision.image, len(spec.cameras)
        pixels = torch.full((len(episodes), slots, 3, size, size), -1.0)
        seen = torch.zeros(len(episodes), slots, dtype=torch.bool)
        for i, episode in enumerate(episodes):
            frames = self._look.at(episode)
            if frames:
                pixels[i] = self._image(*(torch.from_numpy(frames[camera.name]) for camera in spec.cameras))[0]
                seen[i] = True
        prompts = [self._tokenizer.encode(e.instruction) for e in episodes]
        tokens = torch.from_numpy(np.stack([p.tokens for p in prompts]))
        token_mask = torch.from_numpy(np.stack([p.mask for p in prompts]))
        keys, values, mask = model.prefix(pixels, tokens, token_mask, seen)
        joints = torch.from_numpy(np.stack([e.world.position_rad for e in episodes]).astype(np.float32))
        norm = spec.state_normalisation
        state = torch.zeros(len(episodes), spec.state.padded)
        state[:, : joints.shape[1]] = (joints - torch.tensor(norm.a)) / (torch.tensor(norm.b) + norm.eps_in)
        x = torch.from_numpy(np.stack([self._noise.draw(e) for e in episodes]))
        assert isinstance(spec.head, FlowSpec)
        for time in flow_times(spec.head.steps, "fraction").tolist():
            cond = model.cond(torch.full((len(episodes),), time))
            x = x - model.velocity(keys, values, mask, x, cond, state) / spec.head.steps
        mean, std = torch.tensor(spec.action_normalisation.a), torch.tensor(spec.action_normalisation.b)
        chunks = (x[..., : spec.action.dims] * std + mean).numpy().astype(np.float64)
        return list(chunks)


class InBundle:
    """A bundle, through the runtime's own policy code: by ONNX Runtime, or in PyTorch where its floats are half."""

    def __init__(self, bundle: Path, eyes: Eyes = "open") -> None:
        opened = open_bundle(bundle)
        self._runner = Runner(opened, torch_graph.Engine() if opened.manifest.has_half else ort.Engine())
        spec = self._runner.spec
        self._look, self._noise = Look(eyes), Noise(spec.horizon, spec.action.padded)
        self._out = np.zeros((spec.horizon, spec.action.dims), np.float32)

    def __call__(self, episodes: list[Episode]) -> list[Floats]:
        return [self._infer(episode) for episode in episodes]

    def _infer(self, episode: Episode) -> Floats:
        prompt = self._runner.prompt(episode.instruction)
        joints = episode.world.position_rad.astype(np.float32)
        observation = Observation(self._look.at(episode), joints, prompt)
        self._runner.infer(observation, self._out, self._noise.draw(episode))
        return self._out.astype(np.float64)
