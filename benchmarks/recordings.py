"""Recordings as `edge run --record` leaves them, written by a benchmark that has no robot."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_runtime.bundle_spec import PolicySpec
from edge_runtime.recording_spec import DESCRIPTION, Camera, Description, Step, Vector, encode, episode_path


def write_recording(folder: Path, robot: str, spec: PolicySpec, episodes: Iterable[Iterable[Step]]) -> Path:
    """Write `episodes` of a policy with this spec to `folder`, which must not be there, and return it."""
    folder.mkdir(parents=True)
    description = Description(
        robot=robot,
        cameras=tuple(Camera(c.name, c.height, c.width) for c in spec.cameras),
        state=Vector(spec.state.names, spec.state.units),
        action=Vector(spec.action.names, spec.action.units),
        horizon=spec.horizon,
        dt_s=spec.dt_s,
        control_mode=spec.control_mode,
        pose=spec.pose is not None,
    )
    (folder / DESCRIPTION).write_bytes(msgspec.json.encode(description))
    for number, steps in enumerate(episodes):
        with episode_path(folder, number).open("wb") as file:
            for step in steps:
                file.write(encode(step))
    return folder


def step(
    t_s: float,
    instruction: str,
    state: NDArray[np.floating],
    actions: NDArray[np.floating],
    frames: dict[str, NDArray[np.uint8]],
) -> Step:
    """A step at `t_s` seconds: state [dims], actions [horizon, dims], frames RGB [height, width, 3] by camera."""
    return Step(
        t_ns=int(t_s * 1e9),
        capture_ns=int(t_s * 1e9),
        policy="",
        instruction=instruction,
        state=state.astype("<f4").tobytes(),
        actions=actions.astype("<f4").tobytes(),
        frames={name: _jpeg(frame) for name, frame in frames.items()},
    )


def _jpeg(frame: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
