"""The loops that users would otherwise have, under the same load and at the same period as ours.

    relative sleep   lerobot's record and rollout loops with their `busy_wait` (`precise_sleep`) on Linux: observe, act,
                     then sleep for what is left of the period since this round began (huggingface/lerobot,
                     src/lerobot/utils/robot_utils.py)
    sleep the rest   openpi-client's `Runtime`: the same, but time is taken anew after the sleep, so that what the sleep
                     was late by is never made up for (Physical-Intelligence/openpi, openpi_client/runtime/runtime.py)

Written anew from what those files do. Here they get more than they would have: our driver, our cameras, inference on a
thread of its own, where both wait for it in the loop unless they are told otherwise, and a loop that is favoured as
much as its helpers. Neither asks for real-time scheduling or a shorter switch interval, and neither do they here.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np

from drivers.errors import DriverError
from drivers.motors.base import MotorBus
from drivers.sim.process import SimProcess
from edge_runtime.action_space import action_space
from edge_runtime.bench import SEED, simulated
from edge_runtime.clock import MonotonicClock
from edge_runtime.config import Robot
from edge_runtime.devices import make_bus, make_camera
from edge_runtime.inference import Inference
from edge_runtime.link import Link, Request
from edge_runtime.load import load
from edge_runtime.observation import CameraThread, Observer
from edge_runtime.policy import open_policy
from edge_runtime.realtime import favour
from edge_runtime.recorder import Inferences
from edge_runtime.report import quantiles

INSTRUCTION = "lift the red cup"
ANSWER_NS = 8_000_000
"""How long a round waits for its motors."""

Step = Callable[[], None]
Loop = Callable[[Step, float, float], None]


def relative_sleep(step: Step, period_s: float, seconds: float) -> None:
    """`step` again and again, for `seconds`: each round sleeps for the rest of its own period."""
    end_s = time.perf_counter() + seconds
    while (began_s := time.perf_counter()) < end_s:
        step()
        if (rest_s := period_s - (time.perf_counter() - began_s)) > 0:
            time.sleep(rest_s)


def sleep_the_rest(step: Step, period_s: float, seconds: float) -> None:
    """`step` again and again, for `seconds`: each period counts from the end of the last sleep."""
    last_s = time.time()
    end_s = last_s + seconds
    while last_s < end_s:
        step()
        now_s = time.time()
        if now_s - last_s < period_s:
            time.sleep(period_s - (now_s - last_s))
            now_s = time.time()
        last_s = now_s


LOOPS: dict[str, Loop] = {"relative sleep": relative_sleep, "sleep the rest": sleep_the_rest}


def measure(rate_hz: float, seconds: float, bundle: Path, kind: str | None) -> dict[str, dict[str, Any]]:
    """`figures` of each of `LOOPS`, by name, after `seconds` on the simulated arm."""
    found = {}
    for name, loop in LOOPS.items():
        with load(kind) if kind is not None else nullcontext(), _round(rate_hz, bundle) as (step, began_ns):
            loop(step, 1.0 / rate_hz, seconds)
        found[name] = figures(np.array(began_ns), rate_hz)
    return found


def figures(began_ns: np.ndarray[Any, np.dtype[np.int64]], rate_hz: float) -> dict[str, Any]:
    """How far each period was from the one that was asked for, and how many rounds there were of how many due."""
    period_ns = round(1e9 / rate_hz)
    due = (began_ns[-1] - began_ns[0]) // period_ns + 1
    return {
        "jitter_us": quantiles(np.abs(np.diff(began_ns) - period_ns), 1e3),
        "rounds": len(began_ns),
        "due": int(due),
    }


@contextmanager
def _favoured() -> Iterator[None]:
    """The loop's thread has as good a claim to a core as its cameras and its inference."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with suppress(PermissionError):
        favour()
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)


@contextmanager
def _round(rate_hz: float, bundle: Path) -> Iterator[tuple[Step, list[int]]]:
    """One round of such a loop on the simulated arm, with inference at work, and when each round began."""
    with ExitStack() as parts:
        place = Path(parts.enter_context(tempfile.TemporaryDirectory(prefix="edge-peers-")))
        parts.enter_context(SimProcess(place, SEED))
        robot = simulated(place, bundle, rate_hz)
        bus = make_bus(robot.buses[0])
        parts.callback(bus.disconnect)
        bus.connect(_soon(1e9))
        bus.enable_torque(_soon(1e9))
        link = _infer(robot, bundle, parts)
        began_ns: list[int] = []

        def step() -> None:
            began_ns.append(time.monotonic_ns())
            _observe(bus, link)
            _act(bus, link)

        with _favoured():
            yield step, began_ns
        bus.safe_action(_soon(1e9))


def _infer(robot: Robot, bundle: Path, parts: ExitStack) -> Link:
    """Cameras and inference, at work until `parts` are closed."""
    policy, arrived = open_policy(bundle), threading.Event()
    space = action_space(robot, policy.spec)
    link = Link(space.rows, len(robot.joints), round(policy.spec.dt_s * 1e9))
    cameras = [CameraThread(make_camera(c), arrived=arrived, report=_say_nothing) for c in robot.cameras]
    for camera in cameras:
        parts.callback(camera.stop)
        camera.start()
    inference = Inference(
        policy,
        observer=Observer(cameras, policy.frames, link),
        link=link,
        clock=MonotonicClock(),
        inferences=Inferences(1000),
        arrived=arrived,
        report=_say_nothing,
        space=space,
    )
    parts.callback(inference.stop)
    prompt = policy.prompt(INSTRUCTION)
    inference.start(prompt, robot.deadlines.hung_ms / 1e3)
    link.request = Request(1, prompt)
    return link


def _say_nothing(_name: str, _cause: str) -> None:
    """Whoever compares loops has no use for events."""


def _observe(bus: MotorBus, link: Link) -> None:
    with suppress(DriverError):  # theirs would raise, and end
        bus.read_state(_soon(ANSWER_NS))
    link.joints.back[:] = bus.state.position_rad
    link.joints.publish()


def _act(bus: MotorBus, link: Link) -> None:
    """Send the action of the newest chunk that is due now, as it is."""
    chunk = link.chunks.take()
    if chunk is None:
        return
    row = (time.monotonic_ns() - chunk.start_ns) // chunk.dt_ns
    bus.write_setpoints(chunk.actions[min(max(row, 0), len(chunk.actions) - 1)], _soon(ANSWER_NS))


def _soon(duration_ns: float) -> int:
    return time.monotonic_ns() + int(duration_ns)
