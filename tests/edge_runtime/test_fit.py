"""Whether a robot can serve a policy: every misfit is one line that names the field, before anything moves."""

from __future__ import annotations

import math
from typing import Literal

import msgspec
import numpy as np
import pytest

from edge_runtime.bundle_spec import CameraSpec, PolicySpec, VectorSpec
from edge_runtime.errors import BundleError, ConfigError
from edge_runtime.fit import check_fit, units_rad
from edge_runtime.limits import Limits
from tests.edge_runtime.fakes import robot, spec

ROBOT = robot()
NAMES = ROBOT.joint_names


def changed(**fields: object) -> PolicySpec:
    return msgspec.structs.replace(spec(NAMES), **fields)


def vector(*names: str, units: str = "rad") -> VectorSpec:
    return VectorSpec(names, (units,) * len(names), 32)


@pytest.mark.parametrize(
    "names",
    [NAMES, tuple(f"{name}.pos" for name in NAMES), tuple(f"action.{k}" for k in range(6))],
)
def test_a_policy_that_fits(names: tuple[str, ...]) -> None:
    check_fit(ROBOT, changed(action=vector(*names)))


def third(missing: Literal["mask", "black", "refuse"]) -> PolicySpec:
    """A policy with one camera more than the robot."""
    return changed(cameras=(*spec(NAMES).cameras, CameraSpec("top", 480, 640, missing)))


@pytest.mark.parametrize("missing", ["mask", "black"])
def test_a_camera_that_may_be_missing_need_not_be_on_the_robot(missing: Literal["mask", "black"]) -> None:
    check_fit(ROBOT, third(missing))
    only = msgspec.structs.replace(ROBOT, cameras=ROBOT.cameras[:1])
    check_fit(only, changed(cameras=tuple(CameraSpec(c.name, 480, 640, missing) for c in ROBOT.cameras)))


def test_a_policy_may_read_no_state() -> None:
    blind = changed(state=VectorSpec((), (), 0))
    check_fit(ROBOT, blind)
    assert units_rad(ROBOT, blind.state).shape == (0,)


MISFITS = [
    (spec(NAMES, ("base",)), ConfigError, r"cameras\[1\]\.name: the policy has no camera wrist"),
    (third("refuse"), ConfigError, r"needs a camera top, the robot has base, wrist"),
    (
        changed(cameras=tuple(CameraSpec(name, 480, 640, "refuse") for name in ("base", "wrst"))),
        ConfigError,
        r'cameras\[1\]\.name: the policy has no camera wrist, did you mean "wrst"\?',
    ),
    (spec(NAMES[:5]), BundleError, "state of 5 dimensions, the robot has 6 joints"),
    (changed(action=vector(*NAMES[:5])), BundleError, "action of 5 dimensions"),
    (
        changed(action=vector(*NAMES[:4], NAMES[5], NAMES[4])),
        BundleError,
        "action 4 is gripper, joint 4 of the robot is wrist_roll: list the joints in the policy's order",
    ),
    (changed(state=vector(*NAMES, units="m")), BundleError, "state shoulder_pan is in m, joints are in rad or deg"),
    (changed(control_mode="delta"), BundleError, "its actions are delta, in a convention that it does not say: export"),
]


@pytest.mark.parametrize(("policy", "kind", "words"), MISFITS)
def test_a_misfit_is_one_line(policy: PolicySpec, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        check_fit(ROBOT, policy)
    assert "\n" not in str(caught.value)


def test_a_camera_of_another_size() -> None:
    small = msgspec.structs.replace(ROBOT.cameras[0], width=320)
    with pytest.raises(ConfigError, match=r"base is 320x480, the policy takes 640x480: .*--camera base=480x320"):
        check_fit(msgspec.structs.replace(ROBOT, cameras=(small, ROBOT.cameras[1])), spec(NAMES))


def test_units_are_the_bundles_or_else_the_joints_own() -> None:
    degrees = msgspec.structs.replace(ROBOT.buses[0].joints[0], units="deg")
    bus = msgspec.structs.replace(ROBOT.buses[0], joints=(degrees, *ROBOT.buses[0].joints[1:]))
    mixed = msgspec.structs.replace(ROBOT, buses=(bus,))
    degree = math.pi / 180
    assert units_rad(mixed, vector(*NAMES, units="")) == pytest.approx([degree, 1, 1, 1, 1, 1])
    assert units_rad(mixed, vector(*NAMES, units="deg")) == pytest.approx([degree] * 6)
    assert units_rad(mixed, vector(*NAMES, units="rad")) == pytest.approx([1] * 6)


def test_two_arms_have_names_of_their_own() -> None:
    pair = robot(arms=2)
    assert pair.joint_names[:2] == ("left.shoulder_pan", "left.shoulder_lift")
    assert pair.joint_names[6] == "right.shoulder_pan"
    check_fit(pair, spec(pair.joint_names))
    check_fit(pair, spec(tuple(f"action.{k}" for k in range(12))))


def test_limits_are_radians_in_joint_order() -> None:
    limits = Limits.of(robot(arms=2))
    assert limits.lower == pytest.approx(np.full(12, -1.5))
    assert limits.jerk == pytest.approx(np.full(12, 100.0))
