"""Records what the policy saw and answered, beside a robot that never waits for it.

The inference thread copies each step into a slot; the recording thread takes the newest, makes JPEGs of its frames and
appends it to the task's file. A disk that is too slow costs steps, one that is full or broken ends the recording: both
are said and counted, and the robot goes on.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from textwrap import shorten

import cv2
import msgspec
import numpy as np

from edge_runtime.bundle import MANIFEST
from edge_runtime.bundle_spec import PolicySpec
from edge_runtime.config import Robot
from edge_runtime.events import Report
from edge_runtime.files import write_whole
from edge_runtime.jpeg import jpeg
from edge_runtime.policies.base import Floats, Frame
from edge_runtime.realtime import helper
from edge_runtime.recording_spec import (
    DESCRIPTION,
    FLOAT,
    Camera,
    Description,
    RecordingError,
    Step,
    Vector,
    encode,
    episode_numbers,
    episode_path,
    read_description,
)
from edge_runtime.slot import Slot

JPEG = (
    *(cv2.IMWRITE_JPEG_QUALITY, 95),
    *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
)
"""Full colour resolution: with the usual half, edges between colours are off by up to 115 grey levels instead of 24,
measured on 640×480 frames of the simulator, for 65 kB instead of 92."""
IDLE_S = 1.0
"""When nothing was offered for so long, what was written goes to the disk for certain."""
JOIN_S = 5.0
"""How long the end of the run waits for the disk, which may never answer."""


class Seen:
    """A step in buffers of its own."""

    __slots__ = ("actions", "capture_ns", "episode", "frames", "instruction", "number", "person", "state", "t_ns")

    def __init__(self, description: Description) -> None:
        self.number = 0
        """How many steps were offered, with this one."""
        self.episode = 0
        self.t_ns = 0
        self.capture_ns = 0
        self.instruction = ""
        self.person = False
        self.state: Floats = np.zeros(len(description.state.names), np.float32)
        self.actions: Floats = np.zeros((description.horizon, len(description.action.names)), np.float32)
        self.frames: dict[str, Frame] = {
            c.name: np.zeros((c.height, c.width, 3), np.uint8) for c in description.cameras
        }


class EpisodeFile:
    """One episode's file. It holds whole records, also after a write that failed."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb", buffering=0)
        self._size = 0
        self._synced = True

    def append(self, record: bytes) -> None:
        """Write a record. Raises `OSError`."""
        left = memoryview(record)
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError:
            with suppress(OSError):
                self._file.truncate(self._size)
            raise
        self._size += len(record)
        self._synced = False

    def sync(self) -> None:
        """Wait until the disk has what was written. Raises `OSError`."""
        if not self._synced:
            os.fdatasync(self._file.fileno())
            self._synced = True

    def close(self) -> None:
        """Raises `OSError` where the disk did not get everything."""
        try:
            self.sync()
        finally:
            self._file.close()


class Recording:
    """Owns the folder. The inference thread calls `offer`; everything slow happens on the recording thread.

    `episode` says which task the robot is at, by a number that changes from task to task. Raises `RecordingError`,
    before the folder is touched, where it holds anything but a recording of this robot.
    """

    def __init__(
        self, folder: Path, robot: Robot, spec: PolicySpec, *, episode: Callable[[], int], report: Report
    ) -> None:
        description = describe(robot, spec)
        self._folder = folder
        self._next = _prepare(folder, description)
        self._policy = seal(Path(robot.policy.bundle))
        self._episode = episode
        self._report = report
        self._seen = Slot(*(Seen(description) for _ in range(3)))
        self._bgr = {name: np.zeros_like(frame) for name, frame in self._seen.back.frames.items()}
        self._offered = 0
        self._taken = 0
        self._recorded = 0
        self._dropped = 0
        self._over = False
        self._open: EpisodeFile | None = None
        self._open_episode = 0
        self._arrived = threading.Event()
        self._stop = threading.Event()
        self._thread = helper(self._run, "recording")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Write the step that was offered last, and end; a disk that hangs is left to the end of the process."""
        self._stop.set()
        self._arrived.set()
        if self._thread.is_alive():
            self._thread.join(JOIN_S)

    def counts(self) -> dict[str, int]:
        """Steps in the files, and steps that were offered and are not there."""
        dropped = self._offered - self._recorded if self._over else self._dropped
        return {"recorded steps": self._recorded, "dropped steps": dropped}

    def offer(
        self,
        instruction: str,
        capture_ns: int,
        t_ns: int,
        frames: Mapping[str, Frame],
        state: Floats,
        actions: Floats,
        person: bool = False,
    ) -> None:
        """Keep a copy of one step until the recording thread takes it or the next one takes its place. Never waits.

        `Step` says what is what. Where a `person` drives, `actions` are the commanded setpoint in every row.
        """
        self._offered += 1
        if self._over:
            return
        seen = self._seen.back
        seen.number, seen.episode, seen.instruction = self._offered, self._episode(), instruction
        seen.t_ns, seen.capture_ns, seen.person = t_ns, capture_ns, person
        for name, frame in seen.frames.items():
            np.copyto(frame, frames[name])
        np.copyto(seen.state, state)
        np.copyto(seen.actions, actions)
        self._seen.publish()
        self._arrived.set()

    def _run(self) -> None:
        try:
            while True:
                self._arrived.clear()
                ending = self._stop.is_set()
                if self._record_newest():
                    continue
                if ending:
                    break
                if not self._arrived.wait(IDLE_S) and self._open is not None:
                    self._open.sync()
            self._close()
        except Exception as error:  # noqa: BLE001  whatever goes wrong here, the robot is told and goes on
            self._report("recording ended", f"{self._folder}: {' '.join(str(error).split())}")
            with suppress(OSError):
                self._close()
        finally:
            self._over = True

    def _record_newest(self) -> bool:
        """Write the newest step, if it is not written yet. Raises `OSError`."""
        seen = self._seen.take()
        if seen is None or seen.number == self._taken:
            return False
        self._dropped += seen.number - self._taken - 1
        self._taken = seen.number
        self._file(seen.episode).append(encode(self._step(seen)))
        self._recorded += 1
        return True

    def _file(self, episode: int) -> EpisodeFile:
        if self._open is None or episode != self._open_episode:
            self._close()
            self._open, self._open_episode = EpisodeFile(episode_path(self._folder, self._next)), episode
            self._next += 1
        return self._open

    def _close(self) -> None:
        file, self._open = self._open, None
        if file is not None:
            file.close()

    def _step(self, seen: Seen) -> Step:
        return Step(
            t_ns=seen.t_ns,
            capture_ns=seen.capture_ns,
            policy=self._policy,
            instruction=seen.instruction,
            state=seen.state.astype(FLOAT).tobytes(),
            actions=seen.actions.astype(FLOAT).tobytes(),
            frames={name: jpeg(frame, self._bgr[name], JPEG) for name, frame in seen.frames.items()},
            person=seen.person,
        )


def describe(robot: Robot, spec: PolicySpec) -> Description:
    """What the recording of a robot with a policy that fits it says of every step."""
    return Description(
        robot=robot.name,
        cameras=tuple(Camera(c.name, c.height, c.width) for c in robot.cameras),
        state=Vector(spec.state.names, spec.state.units),
        action=Vector(spec.action.names, spec.action.units),
        horizon=spec.horizon,
        dt_s=spec.dt_s,
        control_mode=spec.control_mode,
        pose=spec.pose is not None,
    )


def _prepare(folder: Path, description: Description) -> int:
    """Make the folder ready for episodes; the number of the next. Raises `RecordingError`."""
    try:
        if folder.exists() and not folder.is_dir():
            raise RecordingError(f"{folder}: is no folder")
        if not folder.exists() or not any(folder.iterdir()):
            _write(folder / DESCRIPTION, description)
            return 0
        if not (folder / DESCRIPTION).is_file():
            raise RecordingError(f"{folder}: holds something else than a recording: name a new folder")
    except OSError as error:
        raise RecordingError(f"{folder}: cannot record there: {error.strerror}") from error
    found = read_description(folder)
    for field in Description.__struct_fields__:
        have, want = getattr(found, field), getattr(description, field)
        if have != want:
            raise RecordingError(
                f"{folder / DESCRIPTION}: {field} is {_show(have)}, of this robot {_show(want)}: name a new folder"
            )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise RecordingError(f"{folder}: cannot record there: it is not writable")
    return max(episode_numbers(folder), default=-1) + 1


def _write(path: Path, description: Description) -> None:
    """On the disk for certain: episodes without it cannot be read."""
    write_whole(path, msgspec.json.format(msgspec.json.encode(description), indent=2) + b"\n")
    with path.open("rb") as file:
        os.fsync(file.fileno())


def seal(bundle: Path) -> str:
    """Seal of a bundle that was checked before; "" where the policy comes from none."""
    try:
        found: str = msgspec.json.decode((bundle / MANIFEST).read_bytes())["seal"]
    except FileNotFoundError:
        return ""
    return found


def _show(value: object) -> str:
    return shorten(msgspec.json.encode(value).decode(), 120, placeholder=" …")
