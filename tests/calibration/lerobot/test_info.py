"""What info.json says of dimensions and pictures, in the several ways that datasets say it."""

from __future__ import annotations

from typing import Any

import pytest

from calibration.lerobot.info import Feature


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["x", "y", "z"], ("x", "y", "z")),
        ({"motors": ["x", "y", "z"]}, ("x", "y", "z")),
        ({"z": 2, "x": 0, "y": 1}, ("x", "y", "z")),
        (["dim"], ()),
        ([1, 2, 3], ()),
        ({"left": ["x"], "right": ["y", "z"]}, ()),
        ({}, ()),
        ("xyz", ()),
        (None, ()),
    ],
)
def test_names_of_dimensions(names: Any, found: tuple[str, ...]) -> None:
    assert Feature("float32", (3,), names).dim_names == found


@pytest.mark.parametrize(
    ("dtype", "shape", "facts", "found"),
    [
        ("video", (480, 640, 3), {}, (480, 640, 3)),
        ("image", (3, 480, 640), {}, (480, 640, 3)),
        ("video", (480, 640, 1), {}, None),
        ("video", (480, 640), {}, None),
        ("video", (0, 640, 3), {}, None),
        ("video", (480, 1 << 30, 3), {}, None),
        ("float32", (480, 640, 3), {}, None),
        ("video", (480, 640, 3), {"info": {"is_depth_map": True}}, None),
        ("video", (480, 640, 3), {"info": {"video.is_depth_map": True}}, None),
        ("video", (480, 640, 3), {"video_info": {"video.is_depth_map": True}}, None),
        ("video", (480, 640, 3), {"info": {"video.is_depth_map": False}}, (480, 640, 3)),
    ],
)
def test_which_features_are_cameras(
    dtype: str, shape: tuple[int, ...], facts: dict[str, Any], found: tuple[int, int, int] | None
) -> None:
    assert Feature(dtype, shape, **facts).image_shape == found


@pytest.mark.parametrize(
    ("dtype", "shape", "dims"),
    [("float32", (7,), 7), ("float64", (1,), 1), ("int64", (7,), 0), ("float32", (2, 3), 0), ("float32", (-1,), 0)],
)
def test_which_features_are_vectors(dtype: str, shape: tuple[int, ...], dims: int) -> None:
    assert Feature(dtype, shape).dims == dims
