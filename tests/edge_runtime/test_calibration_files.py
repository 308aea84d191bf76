"""Calibration files come from a disk, where anything may have happened: they are right, or one line says why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime import calibration_files as files
from edge_runtime.calibration_files import BusCalibration, CameraCalibration, LatencyCalibration
from edge_runtime.errors import ConfigError
from tests.edge_runtime.calibrations import BUS, CAMERA, LATENCY

KINDS = (BusCalibration, CameraCalibration, LatencyCalibration)


@pytest.mark.parametrize("found", [BUS, CAMERA, LATENCY], ids=lambda one: type(one).__name__)
def test_what_was_written_is_read(tmp_path: Path, found: Any) -> None:
    file = tmp_path / "new folder" / "x.json"
    files.write(file, found)
    assert files.read(file, type(found)) == found
    assert [path.name for path in file.parent.iterdir()] == ["x.json"]
    for kind in KINDS:
        if kind is not type(found):
            with pytest.raises(ConfigError, match="Invalid value"):
                files.read(file, kind)


def test_none_is_none_and_a_folder_is_one_line(tmp_path: Path) -> None:
    assert files.read(tmp_path / "absent.json", BusCalibration) is None
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        files.read(tmp_path, BusCalibration)


SPOILT: list[tuple[Any, str, Any, str]] = [
    (BUS, "format", 2, "format"),
    (BUS, "date", "yesterday", "date"),
    (BUS, "date", "2026-13-99T99:99:99Z", "there is no such time"),
    (CAMERA, "date", "2026-02-30T00:00:00Z", "there is no such time"),
    (BUS, "colour", "red", "unknown field `colour`"),
    (BUS, "motors", [], "length >= 1"),
    (BUS, "bus", "arm\n", "bus"),
    (CAMERA, "focal_px", [0.0, 430.0], "focal_px"),
    (CAMERA, "focal_px", [430.0], "focal_px"),
    (CAMERA, "error_px", -0.1, "error_px"),
    (CAMERA, "width", 100_000, "width"),
    (LATENCY, "camera_delay_ms", 1e9, "camera_delay_ms"),
    (LATENCY, "correlation", 1.5, "correlation"),
]


@pytest.mark.parametrize(("found", "field", "value", "says"), SPOILT)
def test_impossible_figures_are_named(tmp_path: Path, found: Any, field: str, value: Any, says: str) -> None:
    file = tmp_path / "x.json"
    file.write_text(json.dumps({**msgspec.to_builtins(found), field: value}))
    with pytest.raises(ConfigError) as caught:
        files.read(file, type(found))
    line = str(caught.value)
    assert line.startswith(f"{file}: ")
    assert says in line
    assert "\n" not in line
    assert line.endswith("edge calibrate")


def test_a_missing_field_and_no_number_are_refused(tmp_path: Path) -> None:
    whole = msgspec.json.encode(BUS).decode()
    file = tmp_path / "x.json"
    for text in (whole.replace('"zero_step":2000,', ""), whole.replace("0.4", "NaN"), whole[:-9], ""):
        file.write_text(text)
        with pytest.raises(ConfigError):
            files.read(file, BusCalibration)


def test_a_file_that_is_far_too_long_is_not_taken_in(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_bytes(b" " * (files.MOST_BYTES + 1))
    with pytest.raises(ConfigError, match="this is no calibration"):
        files.read(file, BusCalibration)


@given(st.binary(max_size=300) | st.recursive(st.none() | st.text(), st.lists).map(lambda x: json.dumps(x).encode()))
def test_whatever_is_in_it_there_is_one_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "fuzz.json"
    file.write_bytes(content)
    for kind in KINDS:
        with pytest.raises(ConfigError):
            files.read(file, kind)


@given(st.data())
def test_a_cut_or_changed_file_is_refused_or_still_within_its_ranges(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    text = bytearray(msgspec.json.encode(BUS))
    for _ in range(data.draw(st.integers(1, 3))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    file = tmp_path_factory.getbasetemp() / "changed.json"
    file.write_bytes(text)
    try:
        found = files.read(file, BusCalibration)
    except ConfigError:
        return
    assert found is not None
    assert all(motor.direction in (-1, 1) and -100 <= motor.range_rad[0] <= 100 for motor in found.motors)
