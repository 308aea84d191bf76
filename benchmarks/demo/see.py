"""Stage one: the backbone learns to see and to name.

The vision tower answers for every patch which cups cover it and where they are; the language model answers at its
text tokens where the named cup is. Both answers are read out by heads that are thrown away afterwards; the second one
reads the values of the last layers, which is what the action expert will read.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.demo import data, words
from benchmarks.demo.fit import Stage, fit
from drivers.sim import arm
from drivers.sim.cups import AZIMUTH_RAD, COLOURS, RADIUS_M
from drivers.sim.world import PHRASES
from export.models.common import additive
from export.models.pi0 import Pi0

TEXT = 8
"""Text length in training: every instruction fits; the model does not care how much padding follows."""
ANSWERS = 6
"""Distance and azimuth on the table, offset along and across the pan's plane from the grip point, height, held."""
_READ = 2


class Answers(nn.Module):
    """The heads that are thrown away."""

    def __init__(self, model: Pi0) -> None:
        super().__init__()
        c = model.config
        self.patch = nn.Linear(c.vision.hidden, len(COLOURS) + 4)
        self.named = nn.Sequential(
            nn.Linear(_READ * c.language.num_kv_heads * c.language.head_dim, 192), nn.GELU(), nn.Linear(192, ANSWERS)
        )

    def read(self, values: Tensor, patches: int) -> Tensor:
        """values [depth, B, K, L, D] → answers [B, T, ANSWERS] at the text tokens, which follow `patches` tokens."""
        text = values[-_READ:, :, :, patches:]  # [2, B, K, T, D]
        return self.named(text.permute(1, 3, 0, 2, 4).flatten(2))


def pixels_of(small: Tensor) -> Tensor:
    """uint8 pictures [B, C, ROWS, COLUMNS, 3] → the model's letterboxed pixels [B, C, 3, IMAGE, IMAGE] in [-1, 1]."""
    scaled = small.permute(0, 1, 4, 2, 3).float() / 127.5 - 1.0
    bar = (data.IMAGE - data.ROWS) // 2
    return F.pad(scaled, (0, 0, bar, bar), value=-1.0)


class Prompts:
    """All taught instructions as tokens."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        ids = [[words.encode(tokenizer, p.format(c)) for c in COLOURS] for p in PHRASES]
        self.tokens = torch.zeros(len(PHRASES), len(COLOURS), TEXT, dtype=torch.int64)
        for i, row in enumerate(ids):
            for j, tokens in enumerate(row):
                self.tokens[i, j, : len(tokens)] = torch.tensor(tokens)

    def draw(self, colours: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        """Tokens [N, TEXT] of a random phrase for each colour index [N]."""
        return self.tokens[torch.from_numpy(rng.integers(len(PHRASES), size=len(colours))), torch.from_numpy(colours)]


def polar(cups: NDArray[np.float64]) -> NDArray[np.float64]:
    """Positions [..., 3] → scaled distance and azimuth [..., 2]."""
    radius, azimuth = np.hypot(cups[..., 0], cups[..., 1]), np.arctan2(cups[..., 1], cups[..., 0])
    return np.stack([(radius - RADIUS_M[0]) / (RADIUS_M[1] - RADIUS_M[0]) * 2 - 1, azimuth / AZIMUTH_RAD], axis=-1)


def metres(answers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverse of `polar`: [..., >=2] → x, y [..., 2]."""
    radius = (answers[..., 0] + 1) / 2 * (RADIUS_M[1] - RADIUS_M[0]) + RADIUS_M[0]
    azimuth = answers[..., 1] * AZIMUTH_RAD
    return np.stack([radius * np.cos(azimuth), radius * np.sin(azimuth)], axis=-1)


def answers_of(scenes: data.Scenes) -> NDArray[np.float32]:
    """What is true of every cup, scaled to about ±1: [N, MAX_CUPS, ANSWERS]."""
    joints, cups = scenes.joints.astype(np.float64), scenes.cups.astype(np.float64)
    tip, pan = arm.tip_position(joints), joints[:, 0]
    dx, dy = cups[..., 0] - tip[:, None, 0], cups[..., 1] - tip[:, None, 1]
    c, s = np.cos(pan)[:, None], np.sin(pan)[:, None]
    offset = np.clip(np.stack([dx * c + dy * s, dy * c - dx * s], axis=-1) / 0.04, -3, 3)
    held = (scenes.held[:, None] == np.arange(data.MAX_CUPS)).astype(float)
    rest = np.stack([cups[..., 2] / 0.05, held], axis=-1)
    return np.concatenate([polar(cups), offset, rest], axis=-1).astype(np.float32)


@dataclass
class Batch:
    """A stage-one batch; `index` says which cup of its scene each instruction names."""

    pixels: Tensor
    tokens: Tensor
    colour_cover: Tensor
    """[B, C·P, colours] in [0, 1]."""
    where: Tensor
    """[B, C·P, 4]: distance, azimuth, offset along and across of the cup that covers the patch."""
    where_mask: Tensor
    answer: Tensor
    index: NDArray[np.int64]

    def to(self, device: torch.device) -> Batch:
        """The same batch with its tensors on `device`."""
        moved = {f.name: getattr(self, f.name) for f in fields(self)}
        return Batch(**{k: v.to(device) if isinstance(v, Tensor) else v for k, v in moved.items()})


def cover_of(scenes: data.Scenes, rows: NDArray[np.int64], truth: NDArray[np.float32]) -> tuple[Tensor, Tensor, Tensor]:
    """Dense targets of `rows`: colour coverage, position of the covering cup, and where that means something."""
    covered = scenes.covered[rows].astype(np.float32) / 255  # [B, C, rows, columns, cups]
    batch = len(rows)
    bar = (data.IMAGE - data.ROWS) // 2 // data.PATCH
    cameras = covered.shape[1]
    covered = np.pad(covered, ((0, 0), (0, 0), (bar, bar), (0, 0), (0, 0))).reshape(batch, -1, data.MAX_CUPS)
    onehot = np.eye(len(COLOURS) + 1, dtype=np.float32)[scenes.colours[rows]][..., : len(COLOURS)]  # -1 → none
    main = covered.argmax(axis=-1)
    where = np.take_along_axis(truth[rows][:, :, :4], main[..., None], axis=1)
    mask = np.repeat((covered.max(axis=-1) > 0.25)[..., None].astype(np.float32), 4, axis=-1)
    half = mask.shape[1] // cameras
    mask[:, half:, :2] = 0.0  # the wrist camera alone cannot know where on the table it is
    return torch.from_numpy(covered @ onehot), torch.from_numpy(where), torch.from_numpy(mask)


def batch_of(
    scenes: data.Scenes, truth: NDArray[np.float32], prompts: Prompts, rows: NDArray[np.int64], rng: np.random.Generator
) -> Batch:
    """Scenes `rows`, each with one of its cups named at random."""
    counts = (scenes.colours[rows] >= 0).sum(axis=1)
    index = (rng.random(len(rows)) * counts).astype(np.int64)
    tokens = prompts.draw(scenes.colours[rows, index].astype(np.int64), rng)
    cover, where, mask = cover_of(scenes, rows, truth)
    answer = torch.from_numpy(truth[rows, index])
    return Batch(pixels_of(torch.from_numpy(scenes.pixels[rows])), tokens, cover, where, mask, answer, index)


def dense_loss(heads: Answers, features: Tensor, batch: Batch) -> Tensor:
    """Loss of the vision tower's answers; features [B, C·P, hidden]."""
    out = heads.patch(features).float()
    colours = F.binary_cross_entropy_with_logits(out[..., : len(COLOURS)], batch.colour_cover)
    error = F.smooth_l1_loss(out[..., len(COLOURS) :], batch.where, reduction="none", beta=0.1) * batch.where_mask
    return 4.0 * colours + error.sum() / batch.where_mask.sum().clamp(min=1)


def named_loss(out: Tensor, batch: Batch) -> Tensor:
    """Loss of the answers [B, T, ANSWERS] at the valid text tokens."""
    valid = (batch.tokens != 0)[..., None].float()
    target = batch.answer[:, None].expand_as(out)
    error = F.smooth_l1_loss(out.float(), target, reduction="none", beta=0.05)
    return (error * valid).sum() / (valid.sum() * ANSWERS)


def forward(model: Pi0, pixels: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Vision features [B, C·P, hidden], keys and values [depth, B, K, L, D], and mask [B, L], in one pass."""
    batch = len(pixels)
    features = model.vision(pixels.flatten(0, 1)).reshape(batch, -1, model.config.vision.hidden)
    patches = model.projector(features)
    embeddings = torch.cat([patches, model.language.embed(tokens).to(patches.dtype)], dim=1)
    mask = torch.cat([torch.ones(patches.shape[:2], dtype=torch.bool, device=tokens.device), tokens != 0], dim=1)
    positions = mask.float().cumsum(dim=1) - 1.0
    _, keys, values = model.language(embeddings, positions, additive(mask)[:, None, :])
    return features, keys, values, mask


@torch.no_grad()
def precision(model: Pi0, heads: Answers, scenes: data.Scenes, prompts: Prompts) -> str:
    """How well unseen scenes are answered: median and 95th percentile of the named cup's place, held or not."""
    truth, rng = answers_of(scenes), np.random.default_rng(1)
    device = next(model.parameters()).device
    errors, offsets, held = [], [], []
    for start in range(0, len(scenes), 64):
        rows = np.arange(start, min(start + 64, len(scenes)))
        batch = batch_of(scenes, truth, prompts, rows, rng)
        with torch.autocast(device.type, torch.bfloat16):
            features, _, values, mask = forward(model, batch.pixels.to(device), batch.tokens.to(device))
            out = heads.read(values, features.shape[1]).float()
        valid = mask[:, features.shape[1] :, None].float()
        answer = ((out * valid).sum(1) / valid.sum(1)).cpu().numpy().astype(np.float64)
        want = truth[rows, batch.index].astype(np.float64)
        errors.append(np.linalg.norm(metres(answer) - metres(want), axis=-1))
        near = (np.abs(want[:, 2:4]) < 1.0).all(axis=-1)
        offsets.append(np.linalg.norm((answer - want)[:, 2:4], axis=-1)[near] * 0.04)
        held.append((answer[:, 5] > 0.5) == (want[:, 5] > 0.5))
    e, o = np.concatenate(errors) * 1000, np.concatenate(offsets) * 1000
    return (
        f"place {np.median(e):.1f} mm median {np.percentile(e, 95):.1f} p95; near the grip point {np.median(o):.1f} mm "
        f"median {np.percentile(o, 95):.1f} p95; held {np.concatenate(held).mean():.3f}"
    )


def train_backbone(
    model: Pi0, heads: Answers, scenes: data.Scenes, unseen: data.Scenes, prompts: Prompts, folder: Path,
    steps: tuple[int, int], batch: int = 64,
) -> None:  # fmt: skip
    """Both halves of stage one: `steps` of the dense objective alone, then of both objectives."""
    truth = answers_of(scenes)
    device = next(model.parameters()).device

    def draw(rng: np.random.Generator) -> Batch:
        return batch_of(scenes, truth, prompts, rng.integers(len(scenes), size=batch), rng).to(device)

    def dense(rng: np.random.Generator) -> Tensor:
        drawn = draw(rng)
        features = model.vision(drawn.pixels.flatten(0, 1)).reshape(batch, -1, model.config.vision.hidden)
        return dense_loss(heads, features, drawn)

    def both(rng: np.random.Generator) -> Tensor:
        drawn = draw(rng)
        features, _, values, _ = forward(model, drawn.pixels, drawn.tokens)
        return 0.5 * dense_loss(heads, features, drawn) + 4.0 * named_loss(heads.read(values, features.shape[1]), drawn)

    backbone: dict[str, nn.Module] = {
        "vision": model.vision, "projector": model.projector, "language": model.language, "heads": heads,
    }  # fmt: skip
    fit(Stage("see", steps[0], 1.5e-3), {"vision": model.vision, "heads": heads}, dense, folder)
    fit(Stage("name", steps[1], 1e-3), backbone, both, folder, lambda: precision(model, heads, unseen, prompts))
