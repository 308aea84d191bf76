"""robot.toml as it is on the robot: the same file, comments and all, with the paths of a robot (`places`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import tomlkit
from tomlkit.exceptions import TOMLKitError

from edge_runtime import config, config_check, config_parts
from edge_runtime.config import Robot
from edge_runtime.deploy import places
from edge_runtime.deploy.models.store import running
from edge_runtime.errors import ConfigError, one_line

SOCKET_MODE = "0660"
"""Where the file says none: whoever is in the group of `places.USER` may command the robot."""
_DEVICES = (("cameras", "device"), ("buses", "port"), ("estops", "device"), ("leader", "port"), ("gamepad", "device"))
_HERE = ("./", "../")
"""What a path relative to robot.toml begins with, where a name need not be a path."""


@dataclass(frozen=True)
class RobotFile:
    """`text`: robot.toml of the robot; `robot`: what that says. The rest is on this machine, as robot.toml names it."""

    text: str
    robot: Robot
    calibration: tuple[Path, ...]
    """Files of the calibration folder."""
    urdf: Path | None
    notes: tuple[str, ...]
    """What `config_parts.check` has to say."""


def read(path: Path, bundle: Path | None) -> RobotFile:
    """Read and check a robot.toml, with `bundle` in place of the one that it names where there is one.

    Raises `ConfigError` or `BundleError`, one line that names the file and the key.
    """
    here = config.load(path)
    if bundle is not None:
        here = running(here, bundle.absolute())
    notes = config_parts.check(path, here)
    text = _rewritten(path, here)
    folder = Path(here.calibration) if here.calibration else None
    return RobotFile(
        text=text,
        robot=_on_robot(path, text),
        calibration=tuple(sorted(folder.glob("*.json"))) if folder else (),
        urdf=Path(here.kinematics.urdf) if here.kinematics.urdf else None,
        notes=tuple(notes),
    )


def _rewritten(path: Path, robot: Robot) -> str:
    try:
        document = tomlkit.parse(path.read_text(encoding="utf-8"))
        for key, device in _devices(document):
            if device.startswith(_HERE):
                raise ConfigError(
                    f"{path}: {key}: {device} is beside robot.toml on this computer: name the robot's device, such as "
                    "/dev/serial/by-id/..., /dev/v4l/by-id/... or can0"
                )
        _rewrite(document, robot)
        return tomlkit.dumps(document)
    except TOMLKitError as error:
        raise ConfigError(f"{path}: its paths cannot be replaced: {one_line(error)}") from error


def _on_robot(path: Path, text: str) -> Robot:
    """What the robot will read: the very robot that `path` describes, but for its paths."""
    try:
        robot = config_check.parse(text.encode(), places.CONFIG)
    except ConfigError as error:
        raise ConfigError(f"{path}: as it would be on the robot: {error}") from error
    if _pathless(robot) != _pathless(config.load(path, calibrated=False)):
        raise ConfigError(f"{path}: its paths cannot be replaced without changing more: write it more plainly")
    return robot


def _pathless(robot: Robot) -> Robot:
    """`robot` without what `_rewrite` changes."""
    change = msgspec.structs.replace
    return change(
        robot,
        calibration="",
        policy=change(robot.policy, bundle=""),
        control=change(robot.control, socket="", socket_mode=""),
        black_box=change(robot.black_box, folder=""),
        kinematics=change(robot.kinematics, urdf=""),
    )


def _devices(document: Any) -> Iterator[tuple[str, str]]:
    """Every device that robot.toml names, with its key."""
    for table, name in _DEVICES:
        found = document.get(table)
        if isinstance(found, list):
            yield from ((f"{table}[{i}].{name}", str(entry[name])) for i, entry in enumerate(found))
        elif found is not None:
            yield f"{table}.{name}", str(found[name])


def _rewrite(document: Any, robot: Robot) -> None:
    """Put the robot's paths in. What robot.toml leaves out because it does without stays out."""
    document["policy"]["bundle"] = str(places.CURRENT)
    control = _table(document, "control")
    control["socket"] = str(places.SOCKET)
    control.setdefault("socket_mode", SOCKET_MODE)
    if robot.black_box.folder:
        _table(document, "black_box")["folder"] = str(places.BLACK_BOX)
    if robot.calibration:
        document["calibration"] = str(places.CALIBRATION)
    if robot.kinematics.urdf:
        document["kinematics"]["urdf"] = str(places.CONFIG / Path(robot.kinematics.urdf).name)


def _table(document: Any, name: str) -> Any:
    """The table of that name, made where there is none."""
    if name not in document:
        document[name] = tomlkit.table()
    return document[name]
