"""The emulated board: what it needs of the shipped robot.toml is still there, without booting anything."""

from __future__ import annotations

from pathlib import Path

from benchmarks.boot import board, deb
from edge_runtime import config
from edge_runtime.deploy.host.parts import parts


def test_its_robot_toml_names_its_devices(tmp_path: Path) -> None:
    robot = config.load(deb.robot_toml(tmp_path, "/dev", board.EDITS))
    assert {part.name: part.path for part in parts(robot)} == {"arm": board.SERVO_PORT, **board.CAMERAS}
    assert all(part.link for part in parts(robot))  # by-id, so that there is a name in /dev/edge
    assert robot.joint_names == board.JOINTS
    assert {joint.safe for joint in robot.joints} == {"release"}
    assert all(joint.position_rad[0] <= 0.0 <= joint.position_rad[1] for joint in robot.joints)
