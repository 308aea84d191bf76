"""The image graph is lerobot's own preprocessing, whatever the camera's shape; the constants are time's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from export.graphs import ImageGraph, flow_constants
from tests.export import tiny


def resize_with_pad(frame: Tensor, size: int) -> Tensor:
    """lerobot 0.6.1 `resize_with_pad_torch` and what `_preprocess_images` does around it, written out."""
    x = frame.permute(2, 0, 1)[None].float() / 255.0
    height, width = x.shape[2:]
    ratio = max(width / size, height / size)
    h, w = int(height / ratio), int(width / ratio)
    x = F.interpolate(x, size=(h, w), mode="bilinear", align_corners=False).clamp(0.0, 1.0)
    top, left = (size - h) // 2, (size - w) // 2
    return F.pad(x, (left, size - w - left, top, size - h - top), value=0.0)[0] * 2.0 - 1.0


@pytest.mark.parametrize("size", [18, 42, 224])
@pytest.mark.parametrize(
    ("height", "width"), [(480, 640), (640, 480), (42, 42), (37, 91), (20, 30), (300, 41), (1080, 1920), (1, 7)]
)
def test_frames_become_what_the_reference_makes_of_them(height: int, width: int, size: int) -> None:
    frame = torch.randint(0, 256, (height, width, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    made = ImageGraph({"a": (height, width)}, size)(frame)
    assert made.shape == (1, 1, 3, size, size)
    torch.testing.assert_close(made[0, 0], resize_with_pad(frame, size), rtol=0, atol=1e-6)


def test_cameras_keep_their_order() -> None:
    image = ImageGraph({"b": (4, 4), "a": (9, 5)}, 8)
    white, black = torch.full((4, 4, 3), 255, dtype=torch.uint8), torch.zeros(9, 5, 3, dtype=torch.uint8)
    pixels = image(white, black)[0]
    assert list(image.signature().inputs) == ["image.b", "image.a"]
    assert pixels[0].min() == 1.0
    assert pixels[1].max() == -1.0


def test_constants_cover_every_step_count_up_to_the_verified_one() -> None:
    model = tiny.model()
    constants = flow_constants(model, 4)
    assert {k: len(v) for k, v in constants.items()} == {"cond.1": 1, "cond.2": 2, "cond.3": 3, "cond.4": 4}
    assert torch.equal(constants["cond.4"][2], model.cond(torch.tensor([0.5]))[0])
    assert torch.equal(constants["cond.2"], constants["cond.4"][::2])
