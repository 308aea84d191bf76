"""What robot.toml alone cannot tell: whether all that it names can be had here. No device is opened.

Every driver is asked what it knows without its device, the URDF is read, and the calibration folder is compared with
what robot.toml calls its parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from drivers.errors import DriverError
from edge_runtime import calibration_files as files
from edge_runtime import config, devices
from edge_runtime.bundle import MANIFEST, read_manifest
from edge_runtime.bundle_spec import Manifest
from edge_runtime.config import Bus, Robot
from edge_runtime.errors import ConfigError, EdgeError
from edge_runtime.fence import INSIDE, SIDES, Workspace
from edge_runtime.fit import check_fit
from edge_runtime.onnx_nodes import read_nodes
from edge_runtime.policies.seams import refuse, refuse_sharing
from edge_runtime.stopping import longest_stops
from edge_runtime.suggest import did_you_mean
from edge_runtime.urdf import chain

WAY = 100
"""Parts in which the way between park and start is looked at: no safety hangs on it."""


def load(path: str | Path) -> tuple[Robot, list[str]]:
    """`config.load`, and what `check` has to say of it."""
    robot = config.load(path)
    return robot, check(path, robot)


def check(path: str | Path, robot: Robot) -> list[str]:
    """Notes on stops, workspace and calibration folder: one line each that stops nothing.

    Raises `ConfigError`, one line that names the file and the key, for a part that this machine can never run.
    """
    for key, ask in _questions(robot):
        try:
            ask()
        except (DriverError, EdgeError) as error:
            raise ConfigError(f"{path}: {key}{error}") from error
    notes = (*_stop_notes(robot), *_workspace_notes(robot), *_calibration_notes(robot))
    return [f"{path}: {note}" for note in notes]


def missing(path: str | Path, robot: Robot) -> list[str]:
    """A note where the bundle is not here yet, which `load` leaves to a run: that ends with it."""
    bundle = Path(robot.policy.bundle)
    if bundle.exists():
        return []
    return [
        f"{path}: policy.bundle: {bundle} is not there yet, so whether it fits is not known: "
        f"make it with `edge export CHECKPOINT -o {bundle}`"
    ]


def _questions(robot: Robot) -> Iterator[tuple[str, Callable[[], object]]]:
    """What a message begins with, and what raises where a value of robot.toml cannot be; in the order of the file."""
    for index, camera in enumerate(robot.cameras):
        yield f"cameras[{index}]: ", partial(devices.make_camera, camera)
    for index, bus in enumerate(robot.buses):
        yield f"buses[{index}]: ", partial(_ask_bus, bus)
    yield "policy: ", partial(_ask_bundle, robot)
    yield "", partial(_ask_fit, robot)  # it names the key itself
    if robot.kinematics.urdf:
        yield "kinematics: ", partial(chain, Path(robot.kinematics.urdf), robot.kinematics.tip)
    if robot.workspace is not None:
        yield "workspace: ", partial(_ask_workspace, robot)
    for index, estop in enumerate(robot.estops):
        yield f"estops[{index}]: ", partial(devices.make_estop, estop)
    yield "leader: " if robot.leader is not None else "gamepad: ", partial(devices.make_hand, robot)


def _ask_bundle(robot: Robot) -> None:
    """Raises where the bundle, if it is here, cannot be run like this. No more of it is read than that takes."""
    path, policy = Path(robot.policy.bundle), robot.policy
    if (manifest := _manifest(robot)) is None:
        return
    refuse(path, manifest, robot.motion.seam, policy.prefix_every)
    if policy.prefix_every > 1:
        refuse_sharing(path, policy.prefix_every, read_nodes(path / manifest.graphs["step"]).types)


def _ask_fit(robot: Robot) -> None:
    """Raises where the bundle, if it is here, was made for another robot: what a run would say."""
    if (manifest := _manifest(robot)) is not None:
        check_fit(robot, manifest.spec)


def _manifest(robot: Robot) -> Manifest | None:
    """None where there is no bundle yet."""
    path = Path(robot.policy.bundle) / MANIFEST
    return read_manifest(path) if path.is_file() else None


def _ask_bus(bus: Bus) -> None:
    devices.make_bus(bus).check()


def _ask_workspace(robot: Robot) -> None:
    """Raises where the box and the URDF do not fit, and where an episode would begin or end outside."""
    if (box := Workspace.of(robot)) is None:
        return
    for pose in ("start", "park"):
        q = [getattr(joint, f"{pose}_rad") for joint in robot.joints]
        if (side := box.leaves(q)) != INSIDE:
            x, y, z = box.tip.at([q[i] for i in box.joints])
            key, wall_m = _wall(box, side)
            raise ConfigError(
                f"with every joint at {pose} the tip is at {x:.3f}, {y:.3f}, {z:.3f} m: {SIDES[side]}, where the box "
                f"ends at {wall_m:g} m: move workspace.{key}, or {pose} of the joints"
            )


def _wall(box: Workspace, side: int) -> tuple[str, float]:
    """The key of the box on that side (`SIDES`), and its figure there, m."""
    axis, above = divmod(side, 2)
    return ("high", box.high[axis]) if above else ("low", box.low[axis])


def _stop_notes(robot: Robot) -> Iterator[str]:
    """A joint with no room for its longest stop is held back by `guard` long before its limits."""
    for stop, joint in zip(longest_stops(robot), robot.joints, strict=True):
        low, high = joint.position_rad
        if stop.way_rad > high - low:
            yield (
                f"{stop.joint}: its longest stop takes {stop.way_rad:.3f} rad and its range is {high - low:.3f} rad: "
                "it can never use its limits: raise acceleration and jerk, or lower velocity"
            )


def _workspace_notes(robot: Robot) -> Iterator[str]:
    """The arm goes straight between start and park, and would come to rest where that way leads out of the box."""
    if (box := Workspace.of(robot)) is None:
        return
    for part in range(1, WAY):
        q = [joint.park_rad + part / WAY * (joint.start_rad - joint.park_rad) for joint in robot.joints]
        if (side := box.leaves(q)) != INSIDE:
            yield f"workspace: {SIDES[side]} on the straight way between park and start: the arm would not get there"
            return


def _calibration_notes(robot: Robot) -> Iterator[str]:
    """What has not been measured yet, and what belongs to nothing."""
    if not robot.calibration:
        return
    folder = Path(robot.calibration)
    buses = [files.bus_file(folder, bus.name).name for bus in robot.buses]
    cameras = [kind(folder, c.name).name for c in robot.cameras for kind in (files.camera_file, files.latency_file)]
    there = sorted(path.name for path in folder.glob("*.json"))
    for name in buses:
        if name not in there:
            yield f"calibration: {folder / name} is not there: not measured yet (edge calibrate joints)"
    for name in there:
        if name not in (*buses, *cameras):
            yield f"calibration: {folder / name} belongs to nothing here{did_you_mean(name, (*buses, *cameras))}"
