"""Recordings for tests: a small robot, what it sees, and a folder of what it recorded."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterable
from pathlib import Path

import msgspec
import numpy as np

from edge_runtime.bundle_spec import PolicySpec
from edge_runtime.config import Robot
from edge_runtime.recording import Recording
from tests.edge_runtime import fakes

HEIGHT, WIDTH = 24, 32
PERIOD_NS = 50_000_000


def robot(**changes: object) -> tuple[Robot, PolicySpec]:
    """The robot of the fakes with small pictures, and a policy for it; `changes` replace fields of the robot."""
    settings = fakes.robot()
    cameras = tuple(msgspec.structs.replace(c, height=HEIGHT, width=WIDTH) for c in settings.cameras)
    settings = msgspec.structs.replace(settings, cameras=cameras)
    return msgspec.structs.replace(settings, **changes), fakes.spec(settings.joint_names)


def frame(number: int, camera: str) -> np.ndarray:
    """Smooth, so that a JPEG of it is near; red grows to the right, and blue is what differs."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[..., 0] = np.linspace(0, 255, WIDTH)
    image[..., 2] = 20 + number % 100 + (100 if camera == "wrist" else 0)
    return image


def state(number: int) -> np.ndarray:
    return (np.arange(6) / 3 + number).astype(np.float32)


def actions(number: int) -> np.ndarray:
    return (np.arange(fakes.HORIZON * 6).reshape(fakes.HORIZON, 6) / 7 - number).astype(np.float32)


class Recorder:
    """A `Recording` and what it is told: step `number` of task `episode`."""

    def __init__(self, folder: Path, **changes: object) -> None:
        self.events: list[tuple[str, str]] = []
        self.episode = 1
        self.recording = Recording(
            folder,
            *robot(**changes),
            episode=lambda: self.episode,
            report=lambda name, cause: self.events.append((name, cause)),
        )
        self.recording.start()

    def offer(self, number: int, instruction: str = "fetch", person: bool = False) -> None:
        frames = {name: frame(number, name) for name in ("base", "wrist")}
        at_ns = 1_000_000_000 + number * PERIOD_NS
        self.recording.offer(instruction, at_ns, at_ns + 1, frames, state(number), actions(number), person)

    def settled(self, until: Callable[[dict[str, int]], bool]) -> None:
        """Wait until the counts are so."""
        end = time.monotonic() + 20.0
        while not until(self.recording.counts()):
            assert time.monotonic() < end, self.recording.counts()
            time.sleep(0.001)


def record(folder: Path, tasks: Iterable[Iterable[str]], by_hand: Container[int] = (), **changes: object) -> None:
    """A recording with one task for each of `tasks`, one step for each instruction in it; a person does `by_hand`."""
    recorder = Recorder(folder, **changes)
    number = 0
    for instructions in tasks:
        for instruction in instructions:
            recorder.offer(number, instruction, number in by_hand)
            number += 1
            recorder.settled(lambda counts, n=number: counts["recorded steps"] == n)
        recorder.episode += 1
    recorder.recording.stop()
    assert recorder.events == []
