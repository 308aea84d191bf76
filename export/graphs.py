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
        self.cameras, self.size = cameras, size
        self.fits = [fit(height, width, size) for height, width in cameras.values()]

    def forward(self, *frames: Tensor) -> Tensor:
        pixels = []
        for frame, (height, width, padding) in zip(frames, self.fits, strict=True):
            x = frame.permute(2, 0, 1)[None].to(torch.float32) / 255.0
            if x.shape[2:] != (height, width):
                x = F.interpolate(x, size=(height, width), mode="bilinear", align_corners=False)
            pixels.append(F.pad(x, padding) * 2.0 - 1.0)
        return torch.stack(pixels, dim=1)

    def signature(self) -> Signature:
        frames = {f"image.{name}": torch.zeros(*size, 3, dtype=torch.uint8) for name, size in self.cameras.items()}
        return Signature(frames, ("pixels",))


def fit(height: int, width: int, size: int) -> tuple[int, int, tuple[int, int, int, int]]:
    """Height and width of a frame that just fits into a square, and its padding (left, right, top, bottom)."""
    ratio = max(width / size, height / size)
    h, w = int(height / ratio), int(width / ratio)
    left, top = (size - w) // 2, (size - h) // 2
    return h, w, (left, size - w - left, top, size - h - top)


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

    def forward(  # noqa: PLR0917
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
