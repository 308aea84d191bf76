"""The cameras' process: `python -m drivers.sim.cameras DIR`, started by the simulator and ended with it.

Rendering has a process of its own because it would hold the interpreter lock against the servos' answers. At every
frame time it asks the simulator's socket what there is to see and what is broken, and renders what somebody watches.
"""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from drivers.sim.camera_server import FPS, HEIGHT, WIDTH, CameraServer
from drivers.sim.render import render
from drivers.sim.scene_json import unpack

CAMERAS = ("base", "wrist")
_PERIOD_NS = round(1e9 / FPS)


def socket_of(directory: Path, camera: str) -> Path:
    """Where a camera's socket is."""
    return directory / f"camera-{camera}.sock"


def film(directory: Path) -> None:
    """Serve both cameras until the simulator's socket closes. Frame times are absolute; a missed one is skipped."""
    with socket.socket(socket.AF_UNIX) as line, contextlib.ExitStack() as plugs:
        line.connect(str(directory / "sim.sock"))
        answers = plugs.enter_context(line.makefile("rb"))
        cameras = {name: CameraServer(socket_of(directory, name)) for name in CAMERAS}
        for camera in cameras.values():
            plugs.callback(camera.unplug)
        print("ready", flush=True)
        waiting = {name: deque[dict[str, Any]]() for name in CAMERAS}
        repeated: dict[str, Any] = {}
        start_ns = time.monotonic_ns()
        while True:
            slot = (time.monotonic_ns() - start_ns) // _PERIOD_NS + 1
            time.sleep(max(0.0, (start_ns + slot * _PERIOD_NS - time.monotonic_ns()) * 1e-9))
            line.sendall(b'{"cmd": "scene"}\n')
            answer = answers.readline()
            if not answer:
                return
            _expose(cameras, waiting, repeated, slot, json.loads(answer))


def _expose(
    cameras: dict[str, CameraServer],
    waiting: dict[str, deque[dict[str, Any]]],
    repeated: dict[str, Any],
    slot: int,
    seen: dict[str, Any],
) -> None:
    """Make every camera's frame of this slot, and break and mend cameras as told.

    A delayed camera's scenes wait in `waiting`; the newest that is due is delivered, stamped as late as it is.
    One that repeats itself shows the scene that it saw first since then.
    """
    for name, camera in cameras.items():
        if name in seen["unplug_camera"]:
            camera.unplug()
        else:
            camera.plug()
        waiting[name].append(seen)
        delay_ns, due = seen["delay_ns"][name], None
        while waiting[name] and waiting[name][0]["capture_ns"] + delay_ns <= seen["capture_ns"]:
            due = waiting[name].popleft()
        if name not in seen["repeat_camera"]:
            repeated.pop(name, None)
        elif due is not None:
            due = {**due, "scene": repeated.setdefault(name, due["scene"])}
        if due is not None and camera.watched and name not in seen["freeze_camera"]:
            pixels = np.empty((HEIGHT, WIDTH, 3), np.uint8)  # a new one each time: the last may still be on its way
            render(unpack(due["scene"]), name, pixels)
            camera.publish(slot, due["capture_ns"] + delay_ns, pixels)


def main() -> None:
    """Film until the simulator is gone. Ctrl-C is for the simulator, which ends this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    with contextlib.suppress(ConnectionError):
        film(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
