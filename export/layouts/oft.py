"""What OpenVLA-OFT keeps beside a checkpoint: head files of a training step, and constants that are in no file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from export.errors import CheckpointError
from export.layouts.prismatic_statistics import Kind
from export.stored import Stored, merged, open_pt

POSE = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
_ARM = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate", "gripper")
_ARMS = tuple(f"{side}.{joint}" for side in ("left", "right") for joint in _ARM)
_LATEST = "latest"
_HEAD = re.compile(r"(action_head|proprio_projector)--(\d+|latest)_checkpoint\.pt")


@dataclass(frozen=True)
class Robot:
    """Constants of one robot: actions in a chunk, names of their dimensions and the state's, which limits normalise
    both, actions per second, the cameras that a model for it usually sees."""

    horizon: int
    action: tuple[str, ...]
    state: tuple[str, ...]
    kind: Kind
    control_mode: Literal["absolute", "delta"]
    fps: float
    cameras: tuple[str, ...]


ROBOTS = {
    "libero": Robot(
        8,
        POSE,
        ("x", "y", "z", "axis_x", "axis_y", "axis_z", "gripper_left", "gripper_right"),
        "quantiles",
        "delta",
        20.0,
        ("image", "wrist"),
    ),
    "aloha": Robot(25, _ARMS, _ARMS, "min_max", "absolute", 25.0, ("image", "left_wrist", "right_wrist")),
    "bridge": Robot(5, POSE, POSE, "quantiles", "delta", 5.0, ("image",)),
}
"""The reference's `prismatic/vla/constants.py`. Rates: LIBERO's default control_freq, ALOHA.md, BridgeData. Cameras:
`num_images_in_input` of LIBERO.md, ALOHA.md and, for BridgeData, of vla-scripts/finetune.py."""
OTHER = Robot(0, (), (), "quantiles", "delta", 5.0, ())
"""A robot that the reference has no constants for."""
EPS = 1e-8
"""`normalize_proprio` and `_unnormalize_actions` add it to the span; plain OpenVLA does not."""


@dataclass(frozen=True)
class HeadFiles:
    """The files of one step, as weights, and the sizes that they tell: 0 dimensions of state without a projector."""

    stored: Stored
    action_dims: int
    state_dims: int


def head_files(directory: Path) -> HeadFiles | None:
    """The newest head files in `directory`; None where there is none: plain OpenVLA.

    `CheckpointError` for what this export cannot run: diffusion heads, FiLM, adapters that are not merged.
    """
    _refuse_others(directory)
    steps: dict[str, dict[float, Path]] = {"action_head": {}, "proprio_projector": {}}
    for path in directory.iterdir():
        found = _HEAD.fullmatch(path.name)
        if found is not None:
            steps[found[1]][float("inf") if found[2] == _LATEST else float(found[2])] = path
    heads, projectors = steps["action_head"], steps["proprio_projector"]
    if not heads:
        if projectors:
            raise CheckpointError(
                f"{min(projectors.values())}: there is no action_head--<step>_checkpoint.pt beside it"
            )
        return None
    newest = max(heads)
    if projectors and newest not in projectors:
        raise CheckpointError(
            f"{heads[newest]}: proprio_projector of that step is missing; there is "
            f"{', '.join(sorted(path.name for path in projectors.values()))}"
        )
    return _open(heads[newest], projectors.get(newest))


def _refuse_others(directory: Path) -> None:
    """Name what changes the model in ways that are not exported."""
    others = {
        "adapter_config.json": "adapters must be merged first (vla-scripts/merge_lora_weights_and_save.py)",
        "noisy_action_projector--*_checkpoint.pt": "a diffusion head is not exported; the L1 head is",
        "vision_backbone--*_checkpoint.pt": "a model with FiLM is not exported",
    }
    for pattern, why in others.items():
        for path in sorted(directory.glob(pattern)):
            raise CheckpointError(f"{path}: {why}")


def _open(head: Path, projector: Path | None) -> HeadFiles:
    action = open_pt(head)
    if any(name.startswith("noise_predictor.") for name in action.names):
        raise CheckpointError(f"{head}: a diffusion head is not exported; the L1 head is")
    dims = _side(head, action, "model.fc2.weight", 0)
    if projector is None:
        return HeadFiles(action, dims, 0)
    state = open_pt(projector)
    return HeadFiles(merged([action, state]), dims, _side(projector, state, "fc1.weight", 1))


def _side(path: Path, stored: Stored, name: str, axis: int) -> int:
    shape = stored.shape(name)
    if len(shape) != 2:
        raise CheckpointError(f"{path}: {name} has shape {list(shape)}, expected a matrix")
    return shape[axis]


def robot(directory: Path, name: str | None, files: HeadFiles, horizon: int | None) -> Robot:
    """The constants of the robot `name` (None: the one whose dimensions the head files have).

    `CheckpointError` where `name` is unknown, or where nothing says how long a chunk is, neither a robot nor `horizon`.
    """
    if name is not None:
        if name.lower() not in ROBOTS:
            raise CheckpointError(f"{directory}: robot {name!r} is unknown; known are {', '.join(ROBOTS)}")
        return ROBOTS[name.lower()]
    sizes = (files.action_dims, files.state_dims)
    fitting = (r for r in ROBOTS.values() if (len(r.action), len(r.state)) == sizes)
    found = next(fitting, OTHER)
    if found is OTHER and horizon is None:
        raise CheckpointError(
            f"{directory}: no file says how long a chunk of {sizes[0]} dimensions with {sizes[1]} of state is; "
            f'give it with --dims, a file with "chunk" or "robot" ({", ".join(ROBOTS)})'
        )
    return found


def names(prefix: str, known: tuple[str, ...], count: int) -> tuple[str, ...]:
    """`known` names, where there are as many as dimensions; else numbered ones."""
    return known if len(known) == count else tuple(f"{prefix}.{i}" for i in range(count))
