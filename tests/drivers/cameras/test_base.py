"""What every camera does with a setting that it cannot carry out."""

from __future__ import annotations

import importlib

import pytest

from drivers.cameras.base import CameraSettings
from drivers.errors import DriverError


@pytest.mark.parametrize("kind", ["images", "video", "sim", "gstreamer"])
@pytest.mark.parametrize(("setting", "value"), [("format", "mjpg"), ("exposure_ms", 5.0)])
def test_a_driver_that_cannot_carry_a_setting_out_refuses_it(kind: str, setting: str, value: object) -> None:
    settings = CameraSettings("base", "csi:0", 8, 6, 30.0, **{setting: value})  # type: ignore[arg-type]
    driver = importlib.import_module(f"drivers.cameras.{kind}").Device
    with pytest.raises(DriverError, match=f'^camera base: kind "{kind}" cannot set {setting}: take that line out$'):
        driver(settings)
