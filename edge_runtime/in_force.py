"""What robot.toml puts in force that a robot does without by default: the workspace, the seam, the shared look."""

from __future__ import annotations

from collections.abc import Iterator

from edge_runtime.config import Motion, Robot


def words(robot: Robot) -> Iterator[str]:
    """One line each, for people."""
    if (box := robot.workspace) is not None:
        spans = ", ".join(
            f"{axis} {low:g} to {high:g}" for axis, low, high in zip("xyz", box.low, box.high, strict=True)
        )
        yield f"workspace: {spans} m: every stop of the arm is proved to keep the tip inside"
    if robot.motion.seam != Motion().seam:
        yield f"motion.seam: {robot.motion.seam}"
    if (every := robot.policy.prefix_every) != 1:
        yield f"policy.prefix_every: one look through the cameras serves {every} inferences"
