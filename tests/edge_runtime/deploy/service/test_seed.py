"""A packaged calibration: what the robot has not, and nothing that it has."""

from __future__ import annotations

from pathlib import Path

from edge_runtime.deploy.service.seed import seed_calibration


def test_only_what_the_robot_has_not(tmp_path: Path) -> None:
    packaged, own = tmp_path / "packaged", tmp_path / "own"
    packaged.mkdir()
    for name in ("arm.json", "base.json"):
        (packaged / name).write_text("packaged")
    own.mkdir()
    (own / "arm.json").write_text("measured here")
    assert seed_calibration(packaged, own) == ["base.json"]
    assert {file.name: file.read_text() for file in own.iterdir()} == {
        "arm.json": "measured here",
        "base.json": "packaged",
    }
    assert seed_calibration(packaged, own) == []
    assert seed_calibration(tmp_path / "none", own) == []
