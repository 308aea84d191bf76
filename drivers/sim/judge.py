"""The simulator's own socket, for judges and fault injection: one JSON object a line in, one a line out.

    {"cmd": "state"}                                    what is where, what has been achieved, what is broken
    {"cmd": "reset", "seed": 5}                         a new layout, the arm back at its start pose
    {"cmd": "lay", "seed": 5}                           a new layout, the arm as it is
    {"cmd": "fault", "kind": K, "target": T, "on": B}   break something (B true) or mend it
    {"cmd": "hand", "joints": {J: RAD}}                 a hand takes limp joints there and holds them; {}: lets go
    {"cmd": "board", "pose": P}                         a ChArUco board is held at P [4, 4], robot frame; null: gone
    {"cmd": "horn", "joint": J, "steps": N, "direction": D}    assemble a servo anew (`drivers.sim.horns`)
    {"cmd": "delay", "camera": C, "ms": T}              the camera stamps and delivers its frames so much later
    {"cmd": "scene"}                                    for the cameras' process: what there is to see, and when

| kind | target | what happens |
| --- | --- | --- |
| silence | | no servo answers any more; commands still arrive |
| corrupt | joint, or none for all | the servo's answers have wrong checksums |
| drop_servo | joint | the servo's cable comes off: no power, no answer, no torque |
| supply | | the arm's supply fails: all servos as above |
| unplug_port | | the arm's port vanishes; the servos keep their power and what they were told |
| freeze_camera | camera | no new frames |
| repeat_camera | camera | the same picture again and again, each with a stamp of its own |
| unplug_camera | camera | the camera's socket vanishes |

A camera's fault shows from its next frame on.

The runtime never talks to this socket.
"""

from __future__ import annotations

import contextlib
import json
import math
import socketserver
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from drivers.sim.arm import HIGH_RAD, LOW_RAD
from drivers.sim.board import Board
from drivers.sim.cameras import CAMERAS
from drivers.sim.horns import Horns
from drivers.sim.realtime import RealTime
from drivers.sim.scene_json import pack
from drivers.sim.world import World

CAMERA_FAULTS = ("freeze_camera", "repeat_camera", "unplug_camera")
FAULTS = ("silence", "corrupt", "drop_servo", "supply", "unplug_port", *CAMERA_FAULTS)


class Judge:
    """Answers commands about one simulated robot."""

    def __init__(self, world: World, live: RealTime, horns: Horns, plug: Callable[[bool], None]) -> None:
        """`plug` puts the arm's port in and pulls it."""
        self._world = world
        self._live = live
        self._horns = horns
        self._plug = plug
        self._delay_ms = dict.fromkeys(CAMERAS, 0.0)
        self._broken: frozenset[tuple[str, str]] = frozenset()

    def answer(self, line: str) -> dict[str, Any]:
        """The answer to one line; {"error": …} for one that makes no sense."""
        try:
            command = json.loads(line)
            name = command["cmd"]
            if name == "scene":
                return self._scene()
            if name == "state":
                return self._state()
            if name == "reset":
                self._live.reset(int(command["seed"]))
                return self._state()
            if name == "lay":
                with self._live.lock:
                    self._live.advance()
                    self._world.lay(int(command["seed"]))
                return self._state()
            if name == "fault":
                self._fault(str(command["kind"]), str(command.get("target") or ""), bool(command["on"]))
                return self._state()
            if name in ("hand", "board", "horn", "delay"):
                with self._live.lock:
                    self._live.advance()
                    getattr(self, f"_{name}")(command)
                return self._state()
            return {"error": f"unknown cmd {name!r}: use state, reset, lay, fault, hand, board, horn or delay"}
        except (KeyError, TypeError, ValueError) as error:
            return {"error": f"{type(error).__name__}: {error}"}

    def _hand(self, command: dict[str, Any]) -> None:
        held = {self._joint(name): float(angle) for name, angle in dict(command["joints"]).items()}
        angles = [held.get(index, math.nan) for index in range(len(self._world.JOINTS))]
        self._world.hand_rad[:] = np.clip(angles, LOW_RAD, HIGH_RAD)

    def _board(self, command: dict[str, Any]) -> None:
        pose = command["pose"]
        rows = None if pose is None else np.array(pose, float).reshape(4, 4).tolist()
        self._world.board = None if rows is None else Board(tuple(map(tuple, rows)))

    def _horn(self, command: dict[str, Any]) -> None:
        direction = int(command["direction"])
        if direction not in (-1, 1):
            raise ValueError(f"direction {direction} is neither 1 nor -1")
        self._horns.set(self._joint(command["joint"]), int(command["steps"]), direction)

    def _delay(self, command: dict[str, Any]) -> None:
        camera, delay_ms = command["camera"], float(command["ms"])
        if camera not in self._delay_ms or not 0.0 <= delay_ms <= 1000.0:
            raise ValueError(f"delay of {camera!r} by {delay_ms:g} ms: use {', '.join(CAMERAS)} and 0 to 1000")
        self._delay_ms[camera] = delay_ms

    def _joint(self, name: str) -> int:
        if name not in self._world.JOINTS:
            raise ValueError(f"unknown joint {name!r}: use one of {', '.join(self._world.JOINTS)}")
        return self._world.JOINTS.index(name)

    def _scene(self) -> dict[str, Any]:
        with self._live.lock:
            self._live.advance()
            scene, capture_ns = self._world.snapshot().scene, self._live.now_ns()
        broken = {kind: [target for k, target in self._broken if k == kind] for kind in CAMERA_FAULTS}
        delays = {name: round(delay * 1e6) for name, delay in self._delay_ms.items()}
        seen = {"capture_ns": capture_ns, "scene": pack(scene), "delay_ns": delays}
        return {**seen, **broken}

    def _state(self) -> dict[str, Any]:
        world, live = self._world, self._live
        with live.lock:
            live.advance()
            joints = range(len(world.JOINTS))
            return {
                "time_s": live.steps / 1000,
                "slipped_s": live.slipped_ns * 1e-9,
                "seed": world.seed,
                "cups": [
                    {
                        "colour": cup.colour,
                        "position_m": [round(float(x), 5) for x in cup.position],
                        "instruction": world.instruction_for(index),
                        "success": world.success(cup.colour),
                    }
                    for index, cup in enumerate(world.cups)
                ],
                "gripped": None if world.gripped is None else world.cups[world.gripped].colour,
                "lifted": world.lifted,
                "joints": {world.JOINTS[i]: round(float(world.position_rad[i]), 5) for i in joints},
                "torque_on": [bool(world.torque_on[i]) for i in joints],
                "faults": [{"kind": kind, "target": target} for kind, target in sorted(self._broken)],
            }

    def _fault(self, kind: str, target: str, on: bool) -> None:
        """Break or mend; `ValueError` for a kind or target that is not there."""
        device, joints = self._live.device, list(self._world.JOINTS)
        known = {"corrupt": ["", *joints], "drop_servo": joints}
        known |= {camera_fault: list(CAMERAS) for camera_fault in CAMERA_FAULTS}
        if kind not in FAULTS:
            raise ValueError(f"unknown fault {kind!r}: use one of {', '.join(FAULTS)}")
        if target not in known.get(kind, [""]):
            raise ValueError(f"fault {kind!r} has no target {target!r}: use one of {known.get(kind, [''])}")
        if kind == "unplug_port":
            self._plug(not on)
        elif kind not in CAMERA_FAULTS:
            with self._live.lock:
                self._live.advance()
                if kind == "silence":
                    device.faults.silence = on
                elif kind == "corrupt":
                    ids = {s.id for s in device.servos if target in ("", joints[s.index])}
                    device.faults.corrupt = device.faults.corrupt | ids if on else device.faults.corrupt - ids
                else:
                    device.power(not on, joints.index(target) if target else None)
        self._broken = self._broken | {(kind, target)} if on else self._broken - {(kind, target)}


class _Listener(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False
    judge: Judge


class _Client(socketserver.StreamRequestHandler):
    server: _Listener

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            for line in self.rfile:
                answer = self.server.judge.answer(line.decode(errors="replace"))
                self.wfile.write(json.dumps(answer).encode() + b"\n")


def listen(path: Path, judge: Judge) -> _Listener:
    """Open the socket. Whoever connects is answered once `answer_all` has been called."""
    listener = _Listener(str(path), _Client)
    listener.judge = judge
    return listener


def answer_all(listener: _Listener) -> None:
    """Answer whoever connects, until the listener's `shutdown` and `server_close`."""
    threading.Thread(target=listener.serve_forever, args=(0.2,), name="sim-judge", daemon=True).start()
