"""What the numbers of known data mean in end-effector space: rotations, frames, units, grippers, each with its source.

A checkpoint's files record none of this; the name of the statistics that it was trained with says whose data it was.
"""

from __future__ import annotations

from edge_runtime.bundle_spec import PoseSpec, PoseVector

BRIDGE = PoseSpec(
    frame="base",
    action=PoseVector("euler_xyz", closed=(0.0,), open=(1.0,)),
    state=PoseVector("euler_xyz", closed=(0.0,), open=(1.0,)),
    level=(0.0, 0.0, 1.0, 0.0, 1.0, 0.0, -1.0, 0.0, 0.0),
)
"""BridgeData V2's WidowX. rail-berkeley/bridge_data_robot, widowx_envs/utils/transformation_utils.py: axes are those of
the world (`action2transform_local`), R = Rz·Ry·Rx (`eulerAnglesToRotationMatrix`), angles of the state are those of
R·default_rotationᵀ (`transform2state`; `DEFAULT_ROTATION` in widowx_controller.py). Gripper 1 open, 0 closed:
`bridge_orig_dataset_transform` in openvla/openvla, prismatic/vla/datasets/rlds/oxe/transforms.py."""

FRACTAL = PoseSpec(frame="base", action=PoseVector("euler_xyz", closed=(0.0,), open=(1.0,)))
"""Features of `fractal20220817_data`: "rpy commanded orientation displacement, in base-relative
frame". Gripper made absolute, 1 open: `rt1_dataset_transform`, as above."""

_OSC_M, _OSC_RAD = 0.05, 0.5
LIBERO = PoseSpec(
    frame="base",
    action=PoseVector("axis_angle", closed=(0.0,), open=(1.0,), metres=_OSC_M, radians=_OSC_RAD),
    state=PoseVector("axis_angle", closed=(0.0, 0.0), open=(0.04, -0.04)),
)
"""LIBERO's Panda, as OpenVLA's data have it. robosuite 1.4, OSC_POSE: 1 is 0.05 m or 0.5 rad
(controllers/config/osc_pose.json), an axis-angle times the present rotation (utils/control_utils.py,
`set_goal_orientation`). Gripper 1 open: `libero_dataset_transform`, as above. State: position, `quat2axisangle`, both
fingers, whose joints end at ±0.04 m (openvla-oft's run_libero_eval.py; robosuite's panda_gripper.xml)."""

LIBERO_RAW = PoseSpec(
    frame="base",
    action=PoseVector("axis_angle", closed=(1.0,), open=(-1.0,), metres=_OSC_M, radians=_OSC_RAD),
    state=LIBERO.state,
)
"""LIBERO as the simulator has it, gripper -1 open and 1 closed: what openpi's data keep (examples/libero/main.py)."""

ROBOTS = {"bridge": BRIDGE, "fractal": FRACTAL, "libero": LIBERO}
"""By what the names of statistics begin with, and what `robot` in dims.json may be."""


def convention(robot: str, action_dims: int, state_dims: int) -> PoseSpec | None:
    """The convention of `robot`, or of the statistics of that name; None where it is not known for such sizes."""
    found = next((pose for name, pose in ROBOTS.items() if robot.lower().startswith(name)), None)
    return None if found is None else for_sizes(found, action_dims, state_dims)


def for_sizes(pose: PoseSpec, action_dims: int, state_dims: int) -> PoseSpec | None:
    """`pose` for a model of these sizes, which may read no state; None where the numbers are others."""
    known = pose.state if state_dims else None
    if pose.action.dims != action_dims or (known.dims if known else 0) != state_dims:
        return None
    return PoseSpec(pose.frame, pose.action, known, pose.level)
