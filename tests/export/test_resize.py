"""Every filter is its reference's: Pillow's to the last bit, torch's to float32's last digits, TensorFlow's crop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from export.resize import Crop, Filter, Fit, PilResize, Placement, Resize, TorchResize, placement

PIL_FILTERS: tuple[Filter, ...] = ("pil-bilinear", "pil-bicubic", "pil-lanczos")
Bytes = np.ndarray[Any, np.dtype[np.uint8]]
SIDE = st.integers(1, 40)


def noise(height: int, width: int, seed: int = 0) -> Bytes:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def frames(height: int, width: int) -> dict[str, Bytes]:
    """Noise, and what makes sums end in exact halves or leave the range: ramps and hard edges."""
    y, x = np.mgrid[:height, :width]
    ramp, board = (x + 2 * y) % 256, (x // 3 + y // 3) % 2 * 255
    return {"noise": noise(height, width)} | {
        name: np.repeat(grey[..., None], 3, 2).astype(np.uint8) for name, grey in (("ramp", ramp), ("board", board))
    }


def by_pillow(frame: Bytes, height: int, width: int, filter: Filter) -> Bytes:
    """First the columns, then the rows, which Pillow before 13.0 does in one call: 13.0 may begin with the rows."""
    image = pytest.importorskip("PIL.Image")
    kind = getattr(image.Resampling, filter.removeprefix("pil-").upper())
    columns = image.fromarray(frame).resize((width, frame.shape[0]), kind)
    return np.asarray(columns.resize((width, height), kind))


def levels(pixels: Tensor) -> Bytes:
    """[0, 1] back to bytes, which it must stand for exactly."""
    found = (pixels * 255.0).round().to(torch.uint8)
    assert torch.equal(pixels, found.to(torch.float32) / 255.0)
    return found.numpy()


@pytest.mark.parametrize("filter", PIL_FILTERS)
@pytest.mark.parametrize(
    ("source", "target"),
    [
        ((480, 640), (168, 224)),
        ((256, 256), (224, 224)),
        ((90, 50), (224, 224)),
        ((61, 81), (31, 42)),
        ((42, 81), (42, 42)),
        ((81, 42), (42, 42)),
        ((42, 42), (42, 42)),
    ],
)
def test_pil_filters_are_pillows_to_the_last_bit(
    source: tuple[int, int], target: tuple[int, int], filter: Filter
) -> None:
    resize = PilResize(source, target, filter)
    for name, frame in frames(*source).items():
        assert np.array_equal(levels(resize(torch.from_numpy(frame))), by_pillow(frame, *target, filter)), name


@settings(max_examples=60)
@given(source=st.tuples(SIDE, SIDE), target=st.tuples(SIDE, SIDE), filter=st.sampled_from(PIL_FILTERS), edges=SIDE)
def test_pil_filters_at_any_size(source: tuple[int, int], target: tuple[int, int], filter: Filter, edges: int) -> None:
    frame = noise(*source, edges)
    frame = np.where(frame > 127, 255, 0).astype(np.uint8) if edges % 2 else frame
    found = PilResize(source, target, filter)(torch.from_numpy(frame))
    assert np.array_equal(levels(found), by_pillow(frame, *target, filter))


@pytest.mark.parametrize("filter", PIL_FILTERS)
def test_pillow_takes_the_columns_first(filter: Filter) -> None:
    image = pytest.importorskip("PIL.Image")
    kind, frame = getattr(image.Resampling, filter.removeprefix("pil-").upper()), frames(60, 80)["board"]
    assert np.array_equal(image.fromarray(frame).resize((42, 31), kind), by_pillow(frame, 31, 42, filter))


@settings(max_examples=60)
@given(source=st.tuples(SIDE, SIDE), target=st.tuples(SIDE, SIDE))
def test_torch_bilinear_is_torchs(source: tuple[int, int], target: tuple[int, int]) -> None:
    frame = torch.from_numpy(noise(*source))
    wanted = F.interpolate(frame.permute(2, 0, 1)[None] / 255.0, target, mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(TorchResize(source, target)(frame), wanted.permute(1, 2, 0), rtol=0, atol=1e-6)


def test_torch_bilinear_leaves_a_frame_of_the_right_size_alone() -> None:
    frame = torch.from_numpy(noise(42, 42))
    assert torch.equal(TorchResize((42, 42), (42, 42))(frame), frame / 255.0)


@pytest.mark.parametrize(
    ("frame", "size", "fit", "wanted"),
    [
        ((480, 640), 224, "centre", Placement(168, 224, 28, 0)),
        ((640, 480), 224, "centre", Placement(224, 168, 0, 28)),
        ((60, 80), 42, "centre", Placement(31, 42, 5, 0)),  # one row more below than above
        ((50, 42), 42, "centre", Placement(42, 35, 0, 3)),
        ((20, 40), 80, "centre", Placement(40, 80, 20, 0)),
        ((480, 640), 512, "top-left", Placement(384, 512, 128, 0)),
        ((640, 480), 512, "top-left", Placement(512, 384, 0, 128)),
        ((480, 640), 224, "stretch", Placement(224, 224, 0, 0)),
        ((1, 500), 42, "centre", Placement(1, 42, 20, 0)),  # a line is not nothing
    ],
)
def test_where_a_frame_lies_in_the_square(frame: tuple[int, int], size: int, fit: Fit, wanted: Placement) -> None:
    assert placement(*frame, size, fit) == wanted


@pytest.mark.parametrize("fit", ["centre", "top-left"])
def test_around_the_frame_is_black(fit: Fit) -> None:
    found = Resize(60, 80, 42, "pil-bicubic", fit)(torch.full((60, 80, 3), 255, dtype=torch.uint8))
    at = placement(60, 80, 42, fit)
    assert found.shape == (3, 42, 42)
    assert (found[:, at.top : at.top + at.height, at.left : at.left + at.width] == 1.0).all()
    assert found.sum() == 3 * at.height * at.width


@pytest.mark.parametrize(
    ("area", "wanted"),
    [
        (
            0.9,
            [
                [12, 53, 128, 96, 101, 143],
                [71, 106, 24, 211, 230, 119],
                [192, 64, 215, 203, 29, 128],
                [204, 84, 36, 50, 127, 58],
                [107, 219, 192, 232, 123, 57],
                [72, 227, 220, 75, 174, 150],
            ],
        ),
        (
            0.5,
            [
                [81, 72, 62, 159, 193, 180],
                [98, 93, 115, 196, 174, 138],
                [98, 116, 191, 185, 97, 57],
                [120, 72, 60, 68, 97, 103],
                [162, 151, 132, 155, 139, 102],
                [188, 222, 208, 197, 160, 119],
            ],
        ),
    ],
)
def test_the_crop_is_tensorflows(area: float, wanted: list[list[int]]) -> None:
    """What TensorFlow 2.21 makes of this square in openvla-oft's `center_crop_image`."""
    y, x = np.mgrid[:6, :6]
    square = torch.from_numpy((37 * x * x + 53 * y * y + 29 * x * y) % 256)[..., None].expand(6, 6, 3)
    found = levels(Crop(6, area)(square.to(torch.float32) / 255.0))
    assert found.tolist() == np.repeat(np.array(wanted)[..., None], 3, 2).tolist()


def test_the_crop_keeps_every_even_grey() -> None:
    for level in range(256):
        even = torch.full((9, 9, 3), level) / 255.0
        assert torch.equal(Crop(9, 0.9)(even), even)


def test_the_crop_comes_after_the_fit() -> None:
    """Cut to 0.81 of the area, a tenth of each side goes: with it go those rows of the border."""
    frame = torch.full((20, 40, 3), 255, dtype=torch.uint8)
    whole, cut = (Resize(20, 40, 40, "pil-bilinear", "centre", crop)(frame)[0, :, 20] for crop in (1.0, 0.81))
    assert (whole == 0.0).sum() == 20
    assert (cut == 0.0).sum() < 20


@pytest.mark.parametrize("filter", ["torch-bilinear", *PIL_FILTERS])
def test_one_pixel_fills_the_square(filter: Filter) -> None:
    found = Resize(1, 1, 5, filter, "centre")(torch.tensor([[[3, 140, 255]]], dtype=torch.uint8))
    wanted = (torch.tensor([3, 140, 255]) / 255.0)[:, None, None].expand(3, 5, 5)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("source", "target"), [((480, 640), (224, 224)), ((50, 37), (42, 42)), ((256, 256), (224, 224))]
)
def test_tensorflows_lanczos_rounds_once(source: tuple[int, int], target: tuple[int, int]) -> None:
    """Pillow's filter of floating-point images has the same weights and rounds nothing; then one rounding, as TF's.

    Where the two differ, by one level, the sum before it ends in a half to a thousandth.
    """
    image = pytest.importorskip("PIL.Image")
    for frame in frames(*source).values():
        planes = [image.fromarray(frame[..., i].astype(np.float32)) for i in range(3)]
        float_levels = [np.asarray(p.resize(target[::-1], image.Resampling.LANCZOS)) for p in planes]
        sums = np.stack(float_levels, -1)
        wanted = np.clip(np.round(sums), 0, 255).astype(np.int64)
        found = levels(PilResize(source, target, "tf-lanczos")(torch.from_numpy(frame))).astype(np.int64)
        other = found != wanted
        assert np.abs(found - wanted).max() <= 1
        assert np.all(np.abs(sums[other] % 1.0 - 0.5) < 1e-3)
