"""What a policy in end-effector space means by its numbers, in a line for a person."""

from __future__ import annotations

from edge_runtime.bundle_spec import PolicySpec, PoseSpec, PoseVector

_ROTATION = {"euler_xyz": "Euler angles about fixed x, y, z", "axis_angle": "axis times angle"}


def convention(spec: PolicySpec) -> str:
    """ "" for a policy that acts on joints."""
    pose = spec.pose
    if pose is None:
        return ""
    what = f"deltas in the axes of the {pose.frame}" if spec.control_mode == "delta" else "poses in the base"
    state = "" if pose.state is None else f"; state: {_vector(pose.state)}{_level(pose)}"
    return f"end effector, {what}: {_vector(pose.action)}{state}"


def _vector(vector: PoseVector) -> str:
    return (
        f"1 is {vector.metres:g} m, {vector.radians:g} rad as {_ROTATION[vector.rotation]}; "
        f"gripper closed {_listed(vector.closed, ' and ')}, open {_listed(vector.open, ' and ')}"
    )


def _level(pose: PoseSpec) -> str:
    return f"; no rotation is [{_listed(pose.level, ', ')}]" if pose.level else ""


def _listed(numbers: tuple[float, ...], between: str) -> str:
    return between.join(f"{number:g}" for number in numbers)
