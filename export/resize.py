"""One camera frame → the model's square of pixels, with the very filter that the reference resizes with.

Every filter is one constant matrix for the columns and one for the rows, so that a robot's graph needs no Resize
operator, which runtimes round differently. Those matrices are nearly all zeros and never stored whole (`Lerp`,
`PilPass`), and frames are only ever transposed as tables of two axes, for which runtimes have fast code. A frame is
made float32 before anything else: TensorRT takes bytes as an input and has no operator on them but Cast.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Filter = Literal["torch-bilinear", "pil-bilinear", "pil-bicubic", "pil-lanczos", "tf-lanczos"]
Fit = Literal["centre", "top-left", "stretch"]

WHITE = 255.0
BLOCK = 8
"""Outputs that share a block of a band: with fewer, lines are gathered more often; with more, more zeros multiplied."""
PIL_ONE = 2**22
"""Pillow's weights for bytes are integers, and this one is 1.0 (Resample.c, PRECISION_BITS = 32 - 8 - 2)."""
PIL_REACH = {"pil-bilinear": 1.0, "pil-bicubic": 2.0, "pil-lanczos": 3.0, "tf-lanczos": 3.0}
"""How far each kernel reaches to either side, in pixels of the coarser of the two images."""


@dataclass(frozen=True)
class Placement:
    """Where the resized frame lies in the model's square: its size, the rows above it and the columns left of it."""

    height: int
    width: int
    top: int
    left: int


def placement(height: int, width: int, size: int, fit: Fit) -> Placement:
    """How a frame of `height` × `width` pixels is fitted into `size` × `size`.

    "stretch" gives up the aspect (OpenVLA's resize-naive). The others keep it, `int(side / ratio)` in openpi's
    image_tools.py and in lerobot alike: "centre" pads both ends, the odd line at the far one (openpi, lerobot's pi0);
    "top-left" pads the top and the left only (lerobot's `resize_with_pad`, for SmolVLA).
    """
    if fit == "stretch":
        return Placement(size, size, 0, 0)
    ratio = max(width / size, height / size)
    h, w = max(1, int(height / ratio)), max(1, int(width / ratio))
    top, left = size - h, size - w
    return Placement(h, w, top, left) if fit == "top-left" else Placement(h, w, top // 2, left // 2)


class Resize(nn.Module):
    """One frame uint8 [height, width, 3] → float32 [3, size, size] in [0, 1]; 0 where the frame does not reach.

    A `crop` below 1 keeps that share of the square's area, see `Crop`.
    """

    def __init__(self, height: int, width: int, size: int, filter: Filter, fit: Fit, crop: float = 1.0) -> None:
        super().__init__()
        at = placement(height, width, size, fit)
        self.size = size
        self.padding = (0, 0, at.left, size - at.width - at.left, at.top, size - at.height - at.top)
        source, target = (height, width), (at.height, at.width)
        self.resize = TorchResize(source, target) if filter == "torch-bilinear" else PilResize(source, target, filter)
        self.crop = Crop(size, crop) if crop < 1.0 else nn.Identity()

    def forward(self, frame: Tensor) -> Tensor:
        x = self.crop(F.pad(self.resize(frame), self.padding))
        pixels: Tensor = x.reshape(-1, 3).t().reshape(3, self.size, self.size)
        return pixels


class TorchResize(nn.Module):
    """uint8 [h, w, 3] → float32 [H, W, 3] in [0, 1]: `F.interpolate(frame / 255, mode="bilinear")`, as lerobot's.

    That is without antialias.
    """

    def __init__(self, source: tuple[int, int], target: tuple[int, int]) -> None:
        super().__init__()
        sides = zip(source, target, strict=True)
        self.rows, self.columns = (Lerp(*taps(old, new)) if old != new else None for old, new in sides)

    def forward(self, frame: Tensor) -> Tensor:
        return across(self.columns, down(self.rows, frame.to(torch.float32) / WHITE))


class PilResize(nn.Module):
    """uint8 [h, w, 3] → float32 [H, W, 3] in [0, 1]: Pillow's `Image.resize` of bytes, antialiased when it shrinks.

    As its Resample.c has it, bit for bit: first the columns, then the rows, whole grey levels after each, a side that
    keeps its length left alone. (Pillow 13.0 begins with the rows of some upright frames; 10.4 to 12.1 never do.)

    "tf-lanczos" has the same weights and keeps fractions between the two sides, as `tf.image.resize(method="lanczos3",
    antialias=True)` followed by `tf.round` and a clip does (openvla-oft's `resize_image_for_policy`).
    """

    def __init__(self, source: tuple[int, int], target: tuple[int, int], filter: Filter) -> None:
        super().__init__()
        self.whole = filter != "tf-lanczos"
        self.rows, self.columns = (
            PilPass(pil_weights(old, new, filter), self.whole) if old != new else None
            for old, new in zip(source, target, strict=True)
        )

    def forward(self, frame: Tensor) -> Tensor:
        levels = down(self.rows, across(self.columns, frame.to(torch.float32)))
        return (levels if self.whole else levels.round().clamp(0.0, WHITE)) / WHITE


class Crop(nn.Module):
    """[size, size, 3] in [0, 1] → the same, its centre scaled up: `area` is the share of the square that is kept.

    What openvla-oft's `center_crop_image` does for models trained with random crops: `tf.image.crop_and_resize`
    (bilinear, corner on corner, nothing rounded between the two sides), then `convert_image_dtype` to bytes, which
    multiplies by 255.5 and cuts off: an even surface keeps its grey level, everything else gets up to one darker.
    """

    def __init__(self, size: int, area: float) -> None:
        super().__init__()
        self.lines = Lerp(*crop_taps(size, area))

    def forward(self, x: Tensor) -> Tensor:
        x = down(self.lines, across(self.lines, x))
        return (x.clamp(0.0, 1.0) * (WHITE + 0.5)).floor() / WHITE


class Lerp(nn.Module):
    """[source, n] → float32 [target, n], each between two: their indices int64 [2, target], the second's share."""

    def __init__(self, pairs: Tensor, share: Tensor) -> None:
        super().__init__()
        self.register_buffer("pairs", pairs.flatten(), persistent=False)
        self.register_buffer("share", share[:, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        share, lines = self.get_buffer("share"), x.index_select(0, self.get_buffer("pairs"))
        return lines[: len(share)] * (1.0 - share) + lines[len(share) :] * share


class PilPass(nn.Module):
    """Grey levels [source, n] → float32 [target, n], `whole` ones or not: the product with Pillow's integer weights.

    The matrix is nearly all zeros: every `BLOCK` outputs need only a stretch of the source. The lines of all stretches
    are gathered, then multiplied block by block.

    Pillow sums in 32 bits and float32 holds 24. So a weight is split into 256 · (coarse + fine), fine being at most
    1/2 and in steps of 1/256: either sum is exact (with fewer than 500 source pixels to one output), and all of it
    that could decide the last rounding is kept.
    """

    def __init__(self, weights: Tensor, whole: bool = True) -> None:
        super().__init__()
        self.whole = whole
        self.target, source = weights.shape
        blocks = F.pad(weights, (0, 0, 0, -self.target % BLOCK)).reshape(-1, BLOCK, source)
        used = (blocks != 0).any(1).int()
        first, end = used.argmax(1), source - used.flip(1).argmax(1)
        reach = int((end - first).max())
        lines = first.clamp(max=source - reach)[:, None] + torch.arange(reach)
        steps = blocks.gather(2, lines[:, None].expand(-1, BLOCK, -1)) / 256.0
        self.register_buffer("lines", lines.flatten(), persistent=False)
        self.register_buffer("coarse", steps.round().to(torch.float32), persistent=False)
        self.register_buffer("fine", (steps - steps.round()).to(torch.float32), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        coarse, fine = self.get_buffer("coarse"), self.get_buffer("fine")
        blocks, _, reach = coarse.shape
        stretches = x.index_select(0, self.get_buffer("lines")).reshape(blocks, reach, -1)
        rest = fine @ stretches
        levels = (coarse @ stretches + (rest.floor() if self.whole else rest)) * (256.0 / PIL_ONE)
        if self.whole:
            levels = (levels + 0.5).floor().clamp(0.0, WHITE)
        return levels.reshape(blocks * BLOCK, -1)[: self.target]


def down(lines: nn.Module | None, x: Tensor) -> Tensor:
    """Apply `lines`, if any, to the rows: [h, w, 3] → [H, w, 3]."""
    if lines is None:
        return x
    made: Tensor = lines(x.reshape(len(x), -1))
    return made.reshape(len(made), -1, 3)


def across(lines: nn.Module | None, x: Tensor) -> Tensor:
    """Apply `lines`, if any, to the columns: [h, w, 3] → [h, W, 3]."""
    if lines is None:
        return x
    height, width, _ = x.shape
    made: Tensor = lines(x.reshape(height, -1).t().reshape(width, -1))
    return made.reshape(-1, height).t().reshape(height, -1, 3)


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


def crop_taps(size: int, area: float) -> tuple[Tensor, Tensor]:
    """One side of a centred crop scaled back up, as `taps`: `tf.image.crop_and_resize`, computed in float32 like it."""
    side = torch.tensor(area, dtype=torch.float32).sqrt()
    start = (1.0 - side) / 2.0
    at = start * (size - 1) + torch.arange(size) * ((start + side - start) * (size - 1) / max(size - 1, 1))
    pairs = torch.stack([at.floor(), at.ceil()]).to(torch.int64).clamp(max=size - 1)
    return pairs, at - at.floor()


def pil_weights(source: int, target: int, filter: Filter) -> Tensor:
    """Pillow's filter along one side: whole numbers in float64 [target, source], a row's sum is `PIL_ONE`.

    Resample.c `precompute_coeffs`: the kernel widens with the scale when shrinking and is cut at the image's border.
    """
    scale = source / target
    coarse = max(scale, 1.0)
    reach = PIL_REACH[filter] * coarse
    centre = (torch.arange(target, dtype=torch.float64)[:, None] + 0.5) * scale
    pixel = torch.arange(source, dtype=torch.float64)
    inside = (pixel >= (centre - reach + 0.5).floor()) & (pixel < (centre + reach + 0.5).floor())
    weights = torch.where(inside, kernel((pixel + 0.5 - centre) / coarse, filter), 0.0)
    steps = weights / weights.sum(1, keepdim=True) * PIL_ONE
    return torch.trunc(steps + 0.5 * steps.sign())


def kernel(x: Tensor, filter: Filter) -> Tensor:
    """A filter's weight at distance `x`, as in Pillow's Resample.c; its bicubic has a = -1/2 where torch's has -3/4."""
    x = x.abs()
    if filter == "pil-bilinear":
        return (1.0 - x).clamp(min=0.0)
    if filter == "pil-bicubic":
        near, far = (1.5 * x - 2.5) * x * x + 1.0, ((2.5 - 0.5 * x) * x - 4.0) * x + 2.0
        return torch.where(x < 1.0, near, torch.where(x < 2.0, far, 0.0))
    return torch.where(x < 3.0, torch.sinc(x) * torch.sinc(x / 3.0), 0.0)
