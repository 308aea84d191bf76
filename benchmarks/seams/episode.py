"""One episode of the demo task in simulated time, through the runtime's own code: inference, seam, curve and limiter.

The world stands still while the policy thinks, and the policy's clock runs ahead by the injected delay: its chunk is
there for control, and the next frames are looked at, when that time has come, and at the next tick at the earliest. A
tick is the control loop's, without threads and without a bus.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks.demo import rollout
from benchmarks.demo.policies import Look, Noise
from benchmarks.seams.seam import Jump, jump
from drivers.sim.render import NAMES
from edge_runtime.action_space import JointSpace
from edge_runtime.ahead import Running
from edge_runtime.chunk import Chunk
from edge_runtime.clock import FakeClock
from edge_runtime.config import Robot
from edge_runtime.curve import Curve
from edge_runtime.ensemble import Ensemble
from edge_runtime.fit import units_rad
from edge_runtime.follow import Follow
from edge_runtime.inference import Inference
from edge_runtime.limits import Floats, Limits, stepwise_joints
from edge_runtime.link import Link, Request
from edge_runtime.policies.base import Floats as Numbers
from edge_runtime.policies.base import Observation, Prompt
from edge_runtime.policies.flow import Runner
from edge_runtime.recorder import Inferences
from edge_runtime.reference import Reference
from edge_runtime.safety import Limiter

CAMERA_NS = 40_000_000
"""Frames are there 25 times a second: an inference that takes no time begins no more often."""
LIMIT_S = rollout.LIMIT_S


@dataclass
class Outcome:
    """What became of an episode."""

    grasped_s: float | None = None
    """When the asked cup was first between the pads."""
    lifted_s: float | None = None
    """When it had been lifted for long enough: the task is done."""
    jumps: list[Jump] = field(default_factory=list)
    """One a chunk that took over from another."""
    jerk_rad_s3: list[Floats] = field(default_factory=list)
    """[joints] of every tick since the first takeover: the setpoint's change of acceleration by its time."""


class _Thinker:
    """The policy of one episode: its own noise, the same for every seam, and time that passes while it thinks."""

    def __init__(self, runner: Runner, episode: rollout.Episode, clock: FakeClock, delay_ns: int) -> None:
        self.spec, self._runner, self._episode = runner.spec, runner, episode
        self._clock, self._delay_ns = clock, delay_ns
        self._noise = Noise(self.spec.horizon, self.spec.action.padded)

    @property
    def frames(self) -> Mapping[str, NDArray[np.uint8]]:
        return self._runner.frames

    def prompt(self, instruction: str) -> Prompt:
        return self._runner.prompt(instruction)

    def infer(self, observation: Observation, chunk_out: Numbers) -> None:
        self._runner.infer(observation, chunk_out, self._noise.draw(self._episode))
        self._clock.advance(self._delay_ns)


class _Observer:
    """What cameras and encoders say of the world now."""

    def __init__(self, episode: rollout.Episode, frames: Mapping[str, NDArray[np.uint8]], clock: FakeClock) -> None:
        self.frames = {name: frames[name] for name in NAMES}
        self._episode, self._clock = episode, clock
        self._look = Look("open")

    def observe(self, measured_rad: Floats) -> int:
        measured_rad[:] = self._episode.world.position_rad
        for name, frame in self._look.at(self._episode).items():
            np.copyto(self.frames[name], frame)
        return self._clock.now_ns()


class Drive:
    """The arm of one episode and all that moves it."""

    def __init__(self, robot: Robot, runner: Runner, seed: int, delay_ns: int) -> None:
        limits, spec, seam = Limits.of(robot), runner.spec, robot.motion.seam
        n, dt_ns = len(robot.joints), round(spec.dt_s * 1e9)
        self.outcome = Outcome()
        self._episode = rollout.begin(seed)
        self._tick_ns = round(1e9 / robot.control.rate_hz)
        self._clock = FakeClock(1)  # of a capture time, 0 means that there is none
        self._limiter = Limiter(limits, self._tick_ns / 1e9)
        self._limiter.start_from(self._episode.world.position_rad)
        self._follow = Follow(
            limits, self._limiter, self._tick_ns, blend=seam != "none", stepwise=stepwise_joints(robot)
        )
        self._link = Link(spec.horizon, n, dt_ns)
        self._link.wait_ns = self._tick_ns
        thinker = _Thinker(runner, self._episode, self._clock, delay_ns)
        self._request = Request(1, thinker.prompt(self._episode.instruction))
        self._inference = Inference(
            thinker,
            observer=_Observer(self._episode, runner.frames, self._clock),
            link=self._link,
            clock=self._clock,
            inferences=Inferences(1),
            arrived=threading.Event(),
            report=_refuse,
            space=JointSpace(spec.horizon, units_rad(robot, spec.state), units_rad(robot, spec.action)),
            running=Running.of(robot, spec) if seam in ("committed", "guided") else None,
            ensemble=Ensemble.of(robot, spec.horizon, dt_ns) if seam == "ensemble" else None,
        )
        self._ready_ns = self._next_ns = 0
        self._reference, self._before = Reference(n), Reference(n)
        self._plans = Reference(n), Reference(n)
        self._curve = Curve(n)
        self._emitted: Floats = np.zeros((3, n))
        self._limiter.emitted(self._emitted)
        self._last: Floats = np.zeros((3, n))

    def run(self) -> Outcome:
        """To the success or the limit."""
        start_ns = self._clock.now_ns()
        for tick in range(round(LIMIT_S * 1e9 / self._tick_ns)):
            self._tick(start_ns + tick * self._tick_ns)
            self._judge((tick + 1) * self._tick_ns / 1e9)
            if self.outcome.lifted_s is not None:
                break
        return self.outcome

    def _tick(self, t_ns: int) -> None:
        taken = self._take(t_ns)
        if t_ns >= max(self._ready_ns, self._next_ns):
            self._think(t_ns)
        self._follow.sample(t_ns, self._reference)
        self._limiter.limit(self._reference, self._episode.world.goal_rad)
        self._last[:] = self._emitted
        self._limiter.emitted(self._emitted)
        if taken:
            references, setpoints = (self._before, self._reference), (self._last, self._emitted)
            self.outcome.jumps.append(jump(self._plans, references, setpoints, self._tick_s))
        if self.outcome.jumps:
            self.outcome.jerk_rad_s3.append((self._emitted[2] - self._last[2]) / self._tick_s)
        self._episode.world.step(self._tick_s)

    @property
    def _tick_s(self) -> float:
        return self._tick_ns / 1e9

    def _think(self, t_ns: int) -> None:
        """One inference of what is seen now: the runtime's own, which ends ahead of the world."""
        self._clock.sleep_until(t_ns)
        self._inference.infer(self._request)
        self._ready_ns, self._next_ns = self._clock.now_ns(), t_ns + CAMERA_NS

    def _take(self, t_ns: int) -> bool:
        """As the director does; whether a chunk took over from another one before that was over."""
        chunk, running = self._link.chunks.take() if t_ns >= self._ready_ns else None, self._follow.chunk
        if chunk is None or chunk is running:
            return False
        both = running is not None and all(map(partial(self._planned, t_ns), (running, chunk), self._plans))
        if both:
            self._follow.sample(t_ns, self._before)
        self._follow.begin(chunk, t_ns, self._link.lead_ns)
        return both

    def _planned(self, t_ns: int, chunk: Chunk, out: Reference) -> bool:
        """Write what `chunk` alone asks for at `t_ns` into `out`, if it does."""
        self._curve.forget()
        return self._curve.sample(chunk, t_ns, out)

    def _judge(self, now_s: float) -> None:
        world, asked = self._episode.world, self._episode.asked
        if world.gripped == asked and self.outcome.grasped_s is None:
            self.outcome.grasped_s = now_s
        if world.success(world.cups[asked].colour):
            self.outcome.lifted_s = now_s


def _refuse(event: str, cause: str) -> None:
    raise RuntimeError(f"{event}: {cause}")
