"""Stage two: the action expert learns to act on the frozen backbone's keys and values, by flow matching.

pi0's convention: time runs from 1 (noise) to 0 (actions), x_t = t·noise + (1-t)·actions, the target is noise - actions.
Dimensions that the robot lacks have no weights, so the noise in them means nothing.

Last it learns to go on from actions that are sent already: training-time real-time chunking (Black et al. 2025,
"Training-Time Action Conditioning for Efficient Real-Time Chunking", https://arxiv.org/abs/2512.05964). Some first rows
of a chunk are given clean, their flow time is 0, and only the rest is learnt.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.demo import data, teacher
from benchmarks.demo.fit import Stage, fit
from benchmarks.demo.see import Answers, Prompts, answers_of, batch_of, dense_loss, forward, named_loss, pixels_of
from edge_runtime.bundle_spec import PolicySpec
from export.models.pi0 import Pi0

EXPERT = ("expert", "state_proj", "action_in_proj", "action_time_mlp_in", "action_time_mlp_out", "action_out_proj")
JOINTS = 6
COMMITTED = 5
"""Most rows that are given: 300 ms of delay in a chunk of 100 ms a row are four, and one is to spare."""
SLIP = 0.1
"""By how much, in normalised actions, given rows are off the teacher's: a robot committed them on an older observation.
Two chunks of the demo policy 0.2 s apart differ by 0.02 (roll) to 0.14 (wrist) at the median. With 0.25 on average, of
an exponential distribution, chunks had three times the jerk, where they were to find back."""
RECOVERY_ROWS = 1.5
"""Time constant, in rows, of the way back from there."""


@dataclass(frozen=True)
class Scale:
    """Normalisation of state and actions: float32 mean and standard deviation [6] each."""

    state_mean: NDArray[np.float32]
    state_std: NDArray[np.float32]
    action_mean: NDArray[np.float32]
    action_std: NDArray[np.float32]

    @classmethod
    def of(cls, scenes: data.Scenes, chunks: NDArray[np.float32]) -> Scale:
        """Statistics of a training set; chunks as from `label`."""
        actions = chunks[scenes.colours >= 0].reshape(-1, JOINTS)
        joints = scenes.joints
        least = np.float32(0.05)  # the roll hardly moves: its noise is not worth learning
        return cls(joints.mean(0), joints.std(0), actions.mean(0), np.maximum(actions.std(0), least))

    @classmethod
    def from_spec(cls, spec: PolicySpec) -> Scale:
        """That of a finished checkpoint."""
        numbers = (n for norm in (spec.state_normalisation, spec.action_normalisation) for n in (norm.a, norm.b))
        return cls(*(np.array(n, np.float32) for n in numbers))

    def state(self, joints: Tensor, padded: int) -> Tensor:
        """Joints [B, 6], rad → the model's state [B, padded]."""
        scaled = (joints - torch.from_numpy(self.state_mean)) / torch.from_numpy(self.state_std)
        return F.pad(scaled, (0, padded - JOINTS))

    def actions(self, chunks: Tensor) -> Tensor:
        """Joint targets [B, H, 6], rad → normalised."""
        return (chunks - torch.from_numpy(self.action_mean)) / torch.from_numpy(self.action_std)

    def joints(self, actions: Tensor) -> Tensor:
        """Inverse of `actions`, of the model's [B, H, >=6]."""
        return actions[..., :JOINTS] * torch.from_numpy(self.action_std) + torch.from_numpy(self.action_mean)


def label(scenes: data.Scenes) -> NDArray[np.float32]:
    """The teacher's chunk for every cup of every scene: [N, MAX_CUPS, HORIZON, 6]."""
    out = np.zeros((len(scenes), data.MAX_CUPS, teacher.HORIZON, JOINTS), np.float32)
    joints, cups = scenes.joints.astype(np.float64), scenes.cups.astype(np.float64)
    for row in range(len(scenes)):
        for i in range(int((scenes.colours[row] >= 0).sum())):
            out[row, i] = teacher.chunk(joints[row], cups[row, i], int(scenes.held[row]) == i)
    return out


def start_expert(model: Pi0) -> None:
    """Take out the weights of dimensions that the robot does not have."""
    with torch.no_grad():
        model.state_proj.weight[:, JOINTS:] = 0.0
        model.action_in_proj.weight[:, JOINTS:] = 0.0
        model.action_out_proj.weight[JOINTS:] = 0.0
        model.action_out_proj.bias[JOINTS:] = 0.0


def _draw(rng: np.random.Generator, scenes: int, practised: int, count: int) -> NDArray[np.int64]:
    """Rows [count] of so many scenes, half of them of the last `practised`."""
    rows = rng.integers(scenes, size=count)
    if practised:
        rows[: count // 2] = rng.integers(scenes - practised, scenes, size=count // 2)
    return rows


class Cache:
    """What the frozen backbone makes of many scene and instruction pairs: bfloat16, renewed a few at a time.

    The last `practised` scenes make up half of them.
    """

    def __init__(self, model: Pi0, scenes: data.Scenes, prompts: Prompts, size: int, practised: int = 0) -> None:
        self.model, self.scenes, self.prompts = model, scenes, prompts
        self.size, self.practised = size, practised
        self.rows = np.zeros(size, np.int64)
        self.index = np.zeros(size, np.int64)
        self.keys = self.values = self.mask = torch.empty(0)
        self._next = 0

    def fill(self, rng: np.random.Generator, block: int = 128) -> None:
        """Everything anew."""
        for _ in range(0, self.size, block):
            self.renew(rng, block)

    @torch.no_grad()
    def renew(self, rng: np.random.Generator, count: int) -> None:
        """Replace the `count` oldest pairs by random ones."""
        rows = _draw(rng, len(self.scenes), self.practised, count)
        index = (rng.random(count) * (self.scenes.colours[rows] >= 0).sum(axis=1)).astype(np.int64)
        device = next(self.model.parameters()).device
        pixels = pixels_of(torch.from_numpy(self.scenes.pixels[rows])).to(device)
        tokens = self.prompts.draw(self.scenes.colours[rows, index].astype(np.int64), rng).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            _, keys, values, mask = forward(self.model, pixels, tokens)
        if not len(self.mask):
            shape = (self.size, keys.shape[0], *keys.shape[2:])
            self.keys, self.values = (torch.empty(shape, dtype=torch.bfloat16, device=device) for _ in range(2))
            self.mask = torch.empty((self.size, mask.shape[1]), dtype=torch.bool, device=device)
        at = (self._next + np.arange(count)) % self.size
        self._next = (self._next + count) % self.size
        places = torch.from_numpy(at).to(device)
        self.keys[places], self.values[places] = keys.transpose(0, 1).bfloat16(), values.transpose(0, 1).bfloat16()
        self.mask[places] = mask
        self.rows[at], self.index[at] = rows, index


def flow_loss(
    model: Pi0, keys: Tensor, values: Tensor, mask: Tensor, state: Tensor, actions: Tensor, rng: np.random.Generator,
    given: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Flow matching on normalised actions [B, H, 6]; keys, values, mask and state as `Pi0.velocity` takes them.

    Rows that `given`, bool [B, H], names are clean and not learnt.
    """
    seeded = torch.Generator().manual_seed(int(rng.integers(1 << 62)))
    t = torch.from_numpy(rng.beta(1.5, 1.0, len(actions)) * 0.999 + 0.001).float().to(actions.device)
    noise = torch.randn(actions.shape, generator=seeded).to(actions.device)
    if given is not None:
        t = torch.where(given, 0.0, t[:, None])
    at = t.reshape(len(t), -1, 1)
    x_t = F.pad(at * noise + (1 - at) * actions, (0, model.config.action_padded - JOINTS))
    v = model.velocity(keys, values, mask, x_t, model.cond(t), state)[..., :JOINTS]
    wrong = (v.float() - (noise - actions)) ** 2
    return wrong.mean() if given is None else wrong[~given].mean()


def commit(actions: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Draw how many first rows of normalised actions [B, H, 6] are given: none of every other chunk's, else 1 to
    `COMMITTED`. Returns the actions, off by `SLIP` in those rows and finding back behind them, and which are given.

    The way back is that of a critically damped spring, (1 + s)·exp(-s), which begins evenly.
    """
    batch, rows = actions.shape[:2]
    count = rng.integers(1, COMMITTED + 1, batch) * rng.integers(2, size=batch)
    behind = np.maximum(np.arange(1, rows + 1) - count[:, None], 0) / RECOVERY_ROWS
    fading = (1 + behind) * np.exp(-behind) * (count > 0)[:, None]
    slip = SLIP * rng.standard_normal((batch, 1, actions.shape[2])) * fading[..., None]
    given = torch.from_numpy(np.arange(rows) < count[:, None]).to(actions.device)
    return actions + torch.from_numpy(slip).float().to(actions.device), given


def train_expert(
    model: Pi0, scenes: data.Scenes, chunks: NDArray[np.float32], scale: Scale, prompts: Prompts, folder: Path,
    stage: Stage, cached: int, practised: int = 0, committed: bool = False, batch: int = 192, renewed: int = 16,
) -> None:  # fmt: skip
    """The expert on the backbone as it is: a stage of `batch` draws a step from a cache of `cached` pairs, half of them
    of the last `practised` scenes; with `committed`, from chunks whose first rows are given."""
    cache = Cache(model, scenes, prompts, cached, practised)
    cache.fill(np.random.default_rng(5))
    device = next(model.parameters()).device

    def loss_of(rng: np.random.Generator) -> Tensor:
        cache.renew(rng, renewed)
        pick = rng.integers(cached, size=batch)
        rows, index = cache.rows[pick], cache.index[pick]
        places = torch.from_numpy(pick).to(device)
        state = scale.state(torch.from_numpy(scenes.joints[rows]), model.config.state_padded).to(device)
        actions = scale.actions(torch.from_numpy(chunks[rows, index])).to(device)
        keys, values = cache.keys[places].transpose(0, 1), cache.values[places].transpose(0, 1)
        actions, given = commit(actions, rng) if committed else (actions, None)
        return flow_loss(model, keys, values, cache.mask[places], state, actions, rng, given)

    modules: dict[str, nn.Module] = {name: getattr(model, name) for name in EXPERT}
    fit(stage, modules, loss_of, folder)


def train_together(
    model: Pi0, heads: Answers, scenes: data.Scenes, chunks: NDArray[np.float32], practised: int, scale: Scale,
    prompts: Prompts, folder: Path, name: str, steps: int, rate: float, batch: int = 48, draws: int = 4,
) -> None:  # fmt: skip
    """All of the model at a low rate, on both objectives. The last `practised` scenes make up half of every batch;
    every prefix serves `draws` draws of noise and time."""
    truth = answers_of(scenes)
    device = next(model.parameters()).device

    def loss_of(rng: np.random.Generator) -> Tensor:
        rows = _draw(rng, len(scenes), practised, batch)
        drawn = batch_of(scenes, truth, prompts, rows, rng).to(device)
        features, keys, values, mask = forward(model, drawn.pixels, drawn.tokens)
        state = scale.state(torch.from_numpy(scenes.joints[rows]), model.config.state_padded).to(device)
        actions = scale.actions(torch.from_numpy(chunks[rows, drawn.index])).to(device)
        many = [t.repeat_interleave(draws, dim) for t, dim in ((keys, 1), (values, 1), (mask, 0))]
        state, actions = state.repeat_interleave(draws, 0), actions.repeat_interleave(draws, 0)
        flow = flow_loss(model, many[0], many[1], many[2], state, actions, rng)
        named = named_loss(heads.read(values, features.shape[1]), drawn)
        return flow + 2.0 * named + 0.2 * dense_loss(heads, features, drawn)

    fit(Stage(name, steps, rate), {"model": model, "heads": heads}, loss_of, folder)
