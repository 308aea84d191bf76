"""A policy that writes down what it is shown, and footage that says in every figure which step it is.

As a program: replay that footage and leave what the policy saw and what reached the null bus in a folder. A process of
its own, because the loop takes real-time settings that no test process should have.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from edge_runtime import replay
from edge_runtime.bundle_spec import CameraSpec, FlowSpec, Normalisation, PolicySpec, PromptSpec, VectorSpec
from edge_runtime.errors import InstructionError
from edge_runtime.policies.base import Frame, Observation, Prompt

STEPS, EPISODES, RATE_HZ = 8, 2, 10.0
_JOINTS = VectorSpec(("a", "b"), ("rad", "deg"), 4)
SPEC = PolicySpec(
    cameras=(CameraSpec("base", 6, 8), CameraSpec("wrist", 4, 4)),
    state=_JOINTS,
    action=_JOINTS,
    horizon=5,
    dt_s=0.1,
    control_mode="absolute",
    head=FlowSpec(2, 1.0, 0.0, cache=("keys",)),
    prompt=PromptSpec("{instruction}\n", 8, 2, 0),
    state_normalisation=Normalisation("none"),
    action_normalisation=Normalisation("none"),
)


class ProbePolicy:
    """Asks for the number of the step that it sees, as long as it sees no other: [step, -step] in the robot's units."""

    spec = SPEC

    def __init__(self, fails_at: int = STEPS) -> None:
        self._fails_at = fails_at
        """In the first episode it fails from this step on."""
        self.frames: Mapping[str, Frame] = {c.name: np.zeros((c.height, c.width, 3), np.uint8) for c in SPEC.cameras}
        self.seen: list[dict[str, object]] = []

    def prompt(self, instruction: str) -> Prompt:
        if len(instruction.split()) > 5:
            raise InstructionError(f"too long: {instruction}")
        return Prompt(instruction, np.zeros(8, np.int64), np.ones(8, bool))

    def infer(self, observation: Observation, chunk_out: NDArray[np.float32]) -> None:
        step, episode = observation.frames["base"][0, 0, :2].astype(float)
        if episode == 0 and step >= self._fails_at:
            raise RuntimeError("it does not want to")
        chunk_out[:] = step, -step
        self.seen.append(
            {
                "instruction": observation.prompt.instruction,
                "frames": {name: frame[-1, -1].tolist() for name, frame in observation.frames.items()},
                "state": observation.state.tolist(),
            }
        )


@dataclass
class Recording:
    """Frames hold [step, episode, which camera]; states and actions [step, -step] in the units above."""

    index: int
    instruction: str

    where = "memory"

    @property
    def state(self) -> NDArray[np.float32]:
        return np.arange(STEPS, dtype=np.float32)[:, None] * np.array([1, -1], np.float32)

    @property
    def action(self) -> NDArray[np.float32]:
        return self.state

    @property
    def frames(self) -> dict[str, Frame]:
        stacks: dict[str, Frame] = {}
        for number, (name, shape) in enumerate((("left", (6, 8)), ("wrist", (4, 4)))):
            stacks[name] = np.zeros((STEPS, *shape, 3), np.uint8)
            stacks[name][...] = self.index, self.index, number
            stacks[name][..., 0] = np.arange(STEPS)[:, None, None]
        return stacks


class Footage:
    """Two episodes of `STEPS` steps."""

    name = "probe"
    cameras = ("left", "wrist")
    rate_hz = RATE_HZ

    def episodes(self) -> Iterator[Recording]:
        for index in range(EPISODES):
            yield Recording(index, f"task {index}")


def main(folder: Path, fails_at: int) -> None:
    policy = ProbePolicy(fails_at)
    with mock.patch("edge_runtime.replay.open_policy", return_value=policy):
        played = replay.replay_frames(Footage(), Path("bundle"), cameras={"base": "left"})
    played.save_commands(folder / "commands.npz")
    report = {
        "seen": policy.seen,
        "summary": played.summary(),
        "text": played.text(),
        "states": played.record.state_seconds,
        "episodes": played.record.episodes,
        "successes": played.record.successes,
    }
    (folder / "probe.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
