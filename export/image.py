"""The image graph: the cameras' frames → the pixels that a model's vision tower takes.

It is a graph of its own, so that another camera or resolution never rebuilds the model.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from export.onnx_file import Signature
from export.resize import Filter, Fit, Resize

Rows = tuple[tuple[float, float, float], ...]
"""Three numbers, for red, green and blue, for each time that the model gets the frame."""


@dataclass(frozen=True)
class Preprocess:
    """What a family does to a frame before its vision tower; `ValueError` if nothing can be made of it.

    `size` is the side of the model's square in pixels; `filter` and `fit` say how a frame gets there and `crop`, which
    share of the square's area is kept and scaled back up (`export.resize`). Pixels are (x - mean) / std, x in [0, 1],
    once per row of `mean` and `std`: OpenVLA gives the same frame twice, ImageNet's way and SigLIP's. One half for both
    is openpi's and lerobot's 2x - 1, bit for bit.
    """

    size: int
    filter: Filter
    fit: Fit
    crop: float = 1.0
    mean: Rows = ((0.5, 0.5, 0.5),)
    std: Rows = ((0.5, 0.5, 0.5),)

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"pixels of {self.size} × {self.size}: the size is at least 1")
        if not 0.0 < self.crop <= 1.0:
            raise ValueError(f"a crop to {self.crop} of the area: it is above 0 and at most 1")
        if self.crop < 1.0 and self.filter == "torch-bilinear":
            raise ValueError("a crop works on whole grey levels, and torch-bilinear makes none")
        if len(self.mean) != len(self.std) or not self.mean:
            raise ValueError(f"{len(self.mean)} rows of means and {len(self.std)} of deviations: as many, at least 1")
        if any(len(row) != 3 for row in self.mean + self.std) or not all(all(row) for row in self.std):
            raise ValueError(f"mean {self.mean}, std {self.std}: three numbers a row, and no deviation of 0")


class ImageGraph(nn.Module):
    """Frames uint8 RGB [height, width, 3], one per camera → pixels float32 [1, cameras, 3 · rows of mean, size, size].

    `cameras` gives each one's height and width in pixels; `ValueError` if there is none or one has no pixels.
    """

    def __init__(self, cameras: dict[str, tuple[int, int]], preprocess: Preprocess) -> None:
        super().__init__()
        for name, (height, width) in cameras.items():
            if height < 1 or width < 1:
                raise ValueError(f"camera {name}: frames of {height} × {width} pixels have no picture")
        if not cameras:
            raise ValueError("an image graph needs a camera")
        p = self.preprocess = preprocess
        self.cameras = cameras
        self.resizes = nn.ModuleList(Resize(*shape, p.size, p.filter, p.fit, p.crop) for shape in cameras.values())
        self.register_buffer("mean", torch.tensor(p.mean)[..., None, None], persistent=False)
        self.register_buffer("std", torch.tensor(p.std).reshape(-1, 1, 1), persistent=False)

    def forward(self, *frames: Tensor) -> Tensor:
        size, mean, std = self.preprocess.size, self.get_buffer("mean"), self.get_buffer("std")
        x = torch.stack([resize(frame) for resize, frame in zip(self.resizes, frames, strict=True)])
        centred = x[None, :, None] - mean  # [1, cameras, rows, 3, size, size]
        return centred.reshape(1, len(frames), -1, size, size) / std

    def signature(self) -> Signature:
        frames = {f"image.{name}": torch.zeros(*shape, 3, dtype=torch.uint8) for name, shape in self.cameras.items()}
        return Signature(frames, ("pixels",))
