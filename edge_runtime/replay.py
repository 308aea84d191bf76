"""Recorded footage through the real loop: its frames as cameras, its states as the arm, its instructions as tasks.

Everything between a frame and a motor command is what a robot runs: camera threads, inference, chunks, control ticks,
deadlines. Only the devices are stand-ins: cameras of kind `images` that show the footage at its own rate, and a `null`
bus that answers the recorded states and writes the commands down. What the commands mean is the policy's affair:
figures that are no joint angles (hand steps, as in BridgeData V2) are recorded as they come.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from edge_runtime import app, devices, null_robot
from edge_runtime.apart import apart
from edge_runtime.errors import EdgeError, InstructionError
from edge_runtime.fit import check_fit, units_rad
from edge_runtime.footage import Footage, Take, camera_fields, take_episodes
from edge_runtime.limits import Floats
from edge_runtime.policies.base import Policy
from edge_runtime.policy import open_policy
from edge_runtime.projector import Arm, Eye, Played, Projector
from edge_runtime.record import RunRecord


@dataclass(frozen=True)
class Replay:
    """What a replay leaves behind. `command` [N, dims] is in the units of the policy's actions."""

    record: RunRecord
    rate_hz: float
    played: tuple[Played, ...]
    command_t_ns: NDArray[np.int64]
    command: Floats
    refused: tuple[str, ...] = ()
    """Episodes that were not played, and why."""

    def episode_of(self) -> NDArray[np.int64]:
        """[N] which episode each command belongs to, -1 between two."""
        owner = np.full(len(self.command_t_ns), -1, np.int64)
        for p in self.played:
            owner[(self.command_t_ns >= p.start_ns) & (self.command_t_ns < p.end_ns)] = p.episode
        return owner

    def summary(self) -> dict[str, Any]:
        """What the report says of the replay."""
        owner = self.episode_of()
        episodes = [
            {
                "episode": p.episode,
                "instruction": p.instruction,
                "steps": p.steps,
                "seconds": round((p.end_ns - p.start_ns) / 1e9, 3),
                "commands": int((owner == p.episode).sum()),
                "cut": p.cut,
            }
            for p in self.played
        ]
        return {"replay": {"rate_hz": self.rate_hz, "episodes": episodes, "refused": list(self.refused)}}

    def text(self) -> str:
        """A line for each episode."""
        lines = [f"Footage at {self.rate_hz:g} Hz"]
        for e in self.summary()["replay"]["episodes"]:
            lines.append(
                f"  episode {e['episode']}: {e['steps']} steps in {e['seconds']:.1f} s, {e['commands']} commands"
            )
            lines[-1] += f", cut short: {e['cut']}" if e["cut"] else ""
        lines += [f"  not played: {why}" for why in self.refused]
        return "\n".join(lines)

    def save_commands(self, path: Path) -> None:
        """Write `t_ns` [N], `command` [N, dims] and `episode` [N] as an .npz file."""
        with path.open("wb") as file:
            np.savez_compressed(file, t_ns=self.command_t_ns, command=self.command, episode=self.episode_of())


def replay_frames(
    footage: Footage,
    bundle: Path,
    *,
    cameras: Mapping[str, str] | None = None,
    episodes: Collection[int] | None = None,
    rate_hz: float | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Replay:
    """Play episodes of `footage` to the policy of `bundle`, one after another; for None all whose instruction it takes.

    `cameras` maps the policy's cameras to fields of the footage, where they have not the same name; `rate_hz` is the
    rate of its steps, where the footage does not know it. `say` is told each episode as it begins. Raises `EdgeError`
    before anything runs for a camera, a size, a dimension or an instruction that does not fit.
    """
    rate_hz = rate_hz if rate_hz is not None else footage.rate_hz
    if rate_hz is None:
        raise EdgeError(f"{footage.name}: does not record its rate: give --rate HZ (5 for BridgeData V2)")
    policy = apart(lambda: open_policy(bundle))
    spec = policy.spec
    takes = take_episodes(footage, spec, camera_fields(spec, footage, cameras or {}), episodes)
    takes, refused = playable(policy, takes)
    if refused and (episodes is not None or not takes):
        raise InstructionError(f"{footage.name}, {refused[0]}")
    with tempfile.TemporaryDirectory(prefix="edge-replay-") as folder:
        robot = null_robot.describe(spec, takes, rate_hz, bundle, Path(folder) / "control.sock")
        check_fit(robot, spec)
        eyes = [devices.make_camera(camera) for camera in robot.cameras]
        (bus,) = [devices.make_bus(bus) for bus in robot.buses]
        arm = cast(Arm, bus)
        projector = Projector(cast(list[Eye], eyes), arm, takes, rate_hz, units_rad(robot, spec.state), say)
        record = app.run_robot(robot, policy=policy, cameras=eyes, buses=[bus], beside=projector.run)
    commands = arm.commands()
    command = commands.position_rad / units_rad(robot, spec.action)
    return Replay(record, rate_hz, tuple(projector.played), commands.t_ns, command, tuple(refused))


def playable(policy: Policy, takes: Sequence[Take]) -> tuple[list[Take], list[str]]:
    """The takes whose instruction the policy accepts, and a line for each of the others that says why not."""
    accepted, refused = [], []
    for take in takes:
        try:
            policy.prompt(take.instruction)
            accepted.append(take)
        except InstructionError as error:
            refused.append(f"episode {take.index}: {error}")
    return accepted, refused
