"""Each stage of the frame's way by itself, and the yardsticks that its budget is a multiple of."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.conftest import Time
from drivers.feetech import packets as feetech_packets
from edge_runtime import config_check
from edge_runtime.backends import ort
from edge_runtime.bundle import open_bundle
from edge_runtime.chunk import Chunk
from edge_runtime.follow import Follow
from edge_runtime.limits import Limits
from edge_runtime.policies.base import Observation
from edge_runtime.policies.flow import Runner
from edge_runtime.reference import Reference
from edge_runtime.safety import Limiter


def test_yardstick_python(stage: Time) -> None:
    def additions() -> int:
        total = 0
        for k in range(1000):
            total += k
        return total

    stage("yardstick.python", additions)


def test_yardstick_matmul(stage: Time) -> None:
    a = np.random.default_rng(0).standard_normal((256, 256)).astype(np.float32)
    out = np.empty_like(a)
    stage("yardstick.matmul", lambda: np.matmul(a, a, out=out))


def test_setpoint(stage: Time) -> None:
    """The arithmetic of one control tick: the curve through the chunk, held to the limits; both ways of the limiter."""
    text = resources.files("drivers.sim").joinpath("robot.toml").read_bytes()
    robot = config_check.parse(text, Path())
    limits = Limits.of(robot)
    limiter = Limiter(limits, 0.01)
    start = np.array([joint.start_rad for joint in robot.joints])
    limiter.start_from(start)
    follow, chunk = Follow(limits, limiter, 10_000_000), Chunk(16, 6, 100_000_000)
    chunk.actions[:] = start + np.linspace(0.0, 0.4, 16)[:, None]
    follow.begin(chunk, 0, 0)
    wanted, setpoint = Reference(6), np.zeros(6)
    t_ns = 0

    def tick() -> None:
        nonlocal t_ns
        t_ns = (t_ns + 10_000_000) % 1_500_000_000
        follow.sample(t_ns, wanted)
        limiter.limit(wanted, setpoint)

    stage("control.setpoint", tick)


def test_packets(stage: Time) -> None:
    """One sync write to six servos, as bytes."""
    rows = {id: bytes((id, 8)) for id in range(1, 7)}
    stage("control.packets", lambda: feetech_packets.sync_write(rows, 42, 2))


@pytest.fixture(scope="module")
def runner(bundle: Path) -> Runner:
    return Runner(open_bundle(bundle), ort.Engine())


@pytest.mark.parametrize("component", ["image", "prefix", "step"])
def test_graph(stage: Time, runner: Runner, component: str) -> None:
    stage(f"inference.{component}", runner.graphs[component].run, rounds=200)


def test_chunk(stage: Time, runner: Runner) -> None:
    """A whole inference: frames, prompt and state in, one action chunk out."""
    spec = runner.spec
    frames: dict[str, Any] = {c.name: np.zeros((c.height, c.width, 3), np.uint8) for c in spec.cameras}
    seen = Observation(frames, np.zeros(spec.state.dims, np.float32), runner.prompt("pick up the red cup"))
    out = np.zeros((spec.horizon, spec.action.dims), np.float32)
    stage("inference.chunk", lambda: runner.infer(seen, out), rounds=200)
