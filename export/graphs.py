"""The three graphs a pi0 becomes: image (frames → pixels), prefix (pixels, text → keys, values), step (→ velocity).

Each is a module whose `forward` takes and returns exactly the graph's inputs and outputs, and whose `signature` names
them. Batch is 1 and every shape is static.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export.checkpoint import Checkpoint
from export.models.pi0 import Pi0
from export.onnx_file import Signature


class ImageGraph(nn.Module):
    """Camera frames uint8 RGB [height, width, 3] each → pixels [1, C, 3, size, size] in [-1, 1].

    As lerobot does it (`resize_with_pad_torch`): bilinear without antialias, centred, the border -1.
    """

    def __init__(self, cameras: dict[str, tuple[int, int]], size: int) -> None:
        super().__init__()
        self.cameras = cameras
        self.letterboxes = nn.ModuleList(Letterbox(height, width, size) for height, width in cameras.values())

    def forward(self, *frames: Tensor) -> Tensor:
        boxed = [letterbox(frame) for letterbox, frame in zip(self.letterboxes, frames, strict=True)]
        return torch.stack(boxed)[None] * 2.0 - 1.0

    def signature(self) -> Signature:
        frames = {f"image.{name}": torch.zeros(*size, 3, dtype=torch.uint8) for name, size in self.cameras.items()}
        return Signature(frames, ("pixels",))


class Letterbox(nn.Module):
    """One frame uint8 [height, width, 3] → float32 [3, size, size] in [0, 1], as large as fits, centred on black.

    Rows that nobody will see are dropped before anything is converted: a camera frame is far larger than what the model
    sees. The taps are torch's own (`F.interpolate`), which other runtimes' Resize misses by up to 1e-4.
    """

    def __init__(self, height: int, width: int, size: int) -> None:
        super().__init__()
        ratio = max(width / size, height / size)
        self.height, self.width = max(1, int(height / ratio)), max(1, int(width / ratio))
        top, left = (size - self.height) // 2, (size - self.width) // 2
        self.padding = (left, size - self.width - left, top, size - self.height - top)
        rows, below = taps(height, self.height)
        columns, right = taps(width, self.width)
        self.register_buffer("rows", rows.flatten(), persistent=False)
        self.register_buffer("columns", columns.flatten(), persistent=False)
        self.register_buffer("below", below[:, None, None], persistent=False)
        self.register_buffer("right", right[:, None], persistent=False)

    def forward(self, frame: Tensor) -> Tensor:
        below, right = self.get_buffer("below"), self.get_buffer("right")
        rows = frame.index_select(0, self.get_buffer("rows")).to(torch.float32).reshape(2, self.height, -1, 3) / 255.0
        x = rows[0] * (1.0 - below) + rows[1] * below
        x = x.index_select(1, self.get_buffer("columns")).reshape(self.height, 2, self.width, 3)
        x = x[:, 0] * (1.0 - right) + x[:, 1] * right
        return F.pad(x.permute(2, 0, 1), self.padding)


def taps(source: int, target: int) -> tuple[Tensor, Tensor]:
    """Linear interpolation along one side: indices int64 [2, target] and the weight float32 [target] of the second.

    ATen `upsample_bilinear2d` with align_corners false: half-pixel centres, the border repeated, float32 scale and one
    rounding to float32 (it multiplies and subtracts in one instruction). Any other rounding is up to 1e-4 off.
    """
    scale = torch.tensor(source / target, dtype=torch.float32).to(torch.float64)
    centres = torch.arange(target, dtype=torch.float64) + 0.5
    at = (centres * scale - 0.5).to(torch.float32).clamp(min=0.0)
    first = at.to(torch.int64)
    return torch.stack([first, (first + 1).clamp(max=source - 1)]), at - first


class PrefixGraph(nn.Module):
    """Pixels and text → keys, values [depth, 1, K, L, D] and mask [1, L]."""

    def __init__(self, model: Pi0, cameras: int, max_tokens: int) -> None:
        super().__init__()
        self.model, self.slots, self.max_tokens = model, cameras, max_tokens

    def forward(
        self, pixels: Tensor, camera_mask: Tensor, tokens: Tensor, token_mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        _, keys, values, mask = self.model.prefix(pixels, camera_mask, tokens, token_mask)
        return keys, values, mask

    def signature(self) -> Signature:
        size = self.model.config.vision.image
        inputs = {
            "pixels": torch.zeros(1, self.slots, 3, size, size),
            "camera_mask": torch.ones(1, self.slots, dtype=torch.bool),
            "tokens": torch.zeros(1, self.max_tokens, dtype=torch.int64),
            "token_mask": torch.ones(1, self.max_tokens, dtype=torch.bool),
        }
        return Signature(inputs, ("keys", "values", "prefix_mask"))


class StepGraph(nn.Module):
    """One flow step: what `Pi0.velocity` takes → velocity [1, H, padded]. `cond` [1, W] is a row of the constants."""

    def __init__(self, model: Pi0, cameras: int, max_tokens: int) -> None:
        super().__init__()
        self.model = model
        self.length = cameras * model.config.vision.patches + max_tokens

    def forward(
        self, keys: Tensor, values: Tensor, prefix_mask: Tensor, state: Tensor, x_t: Tensor, cond: Tensor
    ) -> Tensor:
        return self.model.velocity(keys, values, prefix_mask, state, x_t, cond)

    def signature(self) -> Signature:
        c = self.model.config
        cache = (c.expert.depth, 1, c.expert.num_kv_heads, self.length, c.expert.head_dim)
        inputs = {
            "keys": torch.zeros(cache),
            "values": torch.zeros(cache),
            "prefix_mask": torch.ones(1, self.length, dtype=torch.bool),
            "state": torch.zeros(1, c.state_padded),
            "x_t": torch.zeros(1, c.horizon, c.action_padded),
            "cond": torch.zeros(1, c.expert.width),
        }
        return Signature(inputs, ("velocity",))


def flow_constants(model: Pi0, steps: int) -> dict[str, Tensor]:
    """What `velocity` must know of time, for every step count up to `steps`: `cond.<n>` float32 [n, W], from t=1 down.

    t = 1 - k/n in float64, as lerobot has it (openpi accumulates float32).
    """
    grid = {n: 1.0 - torch.arange(n, dtype=torch.float64) / n for n in range(1, steps + 1)}
    return {f"cond.{n}": model.cond(times) for n, times in grid.items()}


def graphs(model: Pi0, checkpoint: Checkpoint) -> dict[str, ImageGraph | PrefixGraph | StepGraph]:
    """The graphs of a checkpoint by component name."""
    slots = len(checkpoint.cameras)
    return {
        "image": ImageGraph(checkpoint.cameras, checkpoint.config.vision.image),
        "prefix": PrefixGraph(model, slots, checkpoint.max_tokens),
        "step": StepGraph(model, slots, checkpoint.max_tokens),
    }
