"""What a black box costs: each cycle, each picture, and what its writing does to the control thread.

    python -m benchmarks.black_box [--seconds 60] [--rate 100] [--json FILE]

The rings of the simulated arm are filled with so many seconds of made-up run, and written three times while a thread
like the control thread wakes at `--rate`: not at all, by a thread of the same process, and by the process that the
runtime has for it. The figures are of those ticks alone that fall into the writing. "cycle" is what the tap takes of
the control thread for a serial cycle of five pieces, "picture" what one JPEG takes of a core.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np

from edge_runtime import config_check, machine, realtime
from edge_runtime.arena import Arena, seen
from edge_runtime.black_box.box import BlackBox, header
from edge_runtime.black_box.folder import Folder
from edge_runtime.black_box.frames import JPEG
from edge_runtime.black_box.incident import Trigger
from edge_runtime.black_box.rings import Rings, incident
from edge_runtime.chunk import Chunk
from edge_runtime.clock import MonotonicClock
from edge_runtime.config import Robot
from edge_runtime.devices import make_bus, make_camera
from edge_runtime.files import write_whole
from edge_runtime.jpeg import jpeg
from edge_runtime.observation import CameraThread
from edge_runtime.pacer import Pacer
from edge_runtime.record import Event
from edge_runtime.recorder import Inferences, Ticks

RESULTS = Path(__file__).with_name("results") / "black_box.json"
ROWS = 50
PIECES = ((True, 44), (True, 14), (False, 60), (False, 24), (False, 6))
"""A cycle of six servos: what is sent, and the answers in the pieces that they come in."""
QUIET_S = 8.0
CALLS = 20_000
PICTURE_BYTES = 40_000
"""Nothing that could be packed any further, as a JPEG."""


def robot(folder: Path, seconds: float, rate_hz: float) -> Robot:
    """The simulated arm with its black box in `folder`."""
    text = resources.files("drivers.sim").joinpath("robot.toml").read_bytes()
    made = config_check.parse(text, folder)
    control = msgspec.structs.replace(made.control, rate_hz=rate_hz)
    return msgspec.structs.replace(
        made, control=control, black_box=msgspec.structs.replace(made.black_box, seconds=seconds)
    )


def picture(seed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Something with edges and noise, as a camera sees it."""
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.integers(0, 256, (24, 32, 3), np.uint8), (640, 480), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(coarse + rng.normal(0, 12, coarse.shape), 0, 255), np.uint8)


def fill(robot: Robot, rings: Rings, ticks: Ticks, inferences: Inferences, now_ns: int) -> None:
    """The seconds up to `now_ns`."""
    seconds, rate_hz = robot.black_box.seconds, robot.control.rate_hz
    period_ns = round(1e9 / rate_hz)
    setpoint = np.zeros(len(robot.joints))
    for k in range(int(seconds * rate_hz)):
        t_ns = now_ns - int(seconds * 1e9) + k * period_ns
        setpoint[:] = np.sin(k / rate_hz)
        ticks.add(
            t_ns=t_ns,
            lateness_ns=50_000,
            tick_ns=900_000,
            serial_ns=2_000_000,
            sensor_age_ns=40_000_000,
            state=2,
            setpoint_rad=setpoint,
            measured_rad=setpoint,
        )
        for sent, size in PIECES:
            (rings.taps[0].sent if sent else rings.taps[0].received)(os.urandom(size))
    chunk = Chunk(ROWS, len(robot.joints), 50_000_000)
    for k in range(int(seconds * 10)):
        chunk.sequence, chunk.ready_ns = k, now_ns - int(seconds * 1e9) + k * 100_000_000
        rings.chunks.add(chunk)
        inferences.add(chunk.ready_ns, 60_000_000)
    for k in range(int(seconds * robot.black_box.frames_hz)):
        for journal in rings.frames:
            journal.add(now_ns - int(seconds * 1e9) + k * 100_000_000, 0, os.urandom(PICTURE_BYTES))
    rings.events.add(Event(now_ns, "HOLD", "the benchmark says so"))


def beside(rate_hz: float, writes: Callable[[], None] | None) -> dict[str, float]:
    """Lateness of a thread like the control thread while `writes` runs in another."""
    lateness: list[int] = []
    ticks = Ticks(10_000, 6)
    values = np.zeros(6)
    over = threading.Event()
    took = [0.0, 0.0]

    def work() -> None:
        began, cpu = time.monotonic(), time.thread_time()
        if writes is None:
            time.sleep(QUIET_S)
        else:
            writes()
        took[:] = time.monotonic() - began, time.thread_time() - cpu
        over.set()

    thread = realtime.helper(work, "writer")
    with realtime.obtain(50):
        pacer = Pacer(MonotonicClock(), round(1e9 / rate_hz))
        thread.start()
        pacer.begin()
        while not over.is_set():
            pacer.wait()
            lateness.append(pacer.lateness_ns)
            for _ in range(20):  # about a millisecond of interpreter, as a tick takes
                ticks.add(
                    t_ns=pacer.woken_ns,
                    lateness_ns=pacer.lateness_ns,
                    tick_ns=0,
                    serial_ns=0,
                    sensor_age_ns=0,
                    state=2,
                    setpoint_rad=values,
                    measured_rad=values,
                )
    thread.join()
    late = np.percentile(np.array(lateness) / 1e3, [50, 99, 100], method="higher")
    found = {name: round(float(value), 1) for name, value in zip(("p50_us", "p99_us", "max_us"), late, strict=True)}
    return {"seconds": round(took[0], 3), "thread_cpu_s": round(took[1], 3), **found}


def timed(call: Callable[[], object], calls: int) -> float:
    """Microseconds of this thread's processor for a call."""
    began = time.thread_time_ns()
    for _ in range(calls):
        call()
    return (time.thread_time_ns() - began) / calls / 1e3


def measure(folder: Path, seconds: float, rate_hz: float) -> dict[str, Any]:
    """Everything that the table shows."""
    made = robot(folder, seconds, rate_hz)
    clock, said = MonotonicClock(), list[tuple[str, str]]()
    box = BlackBox(made, ROWS, clock=clock, report=lambda name, cause: said.append((name, cause)), closing=lambda: "")
    kept = int(600 * rate_hz)
    ticks, inferences = Ticks(kept, len(made.joints), box.arena.array), Inferences(kept, box.arena.array)
    fill(made, box.rings, ticks, inferences, clock.now_ns())
    arrays = seen(os.dup(box.arena.descriptor), box.arena.layout)
    found: dict[str, Any] = {"seconds": seconds, "rate_hz": rate_hz, "memory_mb": round(box.arena.size / 1e6, 1)}
    found["quiet"] = beside(rate_hz, None)
    trigger = Trigger("HOLD", "the benchmark says so", clock.now_ns())
    about = header(made, time.time_ns() - clock.now_ns())
    here = Folder(folder / "here", 5)
    here.prepare()
    found["same process"] = beside(rate_hz, lambda: print(here.keep(incident(arrays, about, trigger)).stat().st_size))
    arrived, report = threading.Event(), lambda name, cause: said.append((name, cause))
    cameras = [CameraThread(make_camera(camera), arrived=arrived, report=report) for camera in made.cameras]
    box.start([make_bus(bus) for bus in made.buses], cameras)
    time.sleep(2.0)  # it has imported everything

    def own() -> None:
        box.see(Event(clock.now_ns() - 2_000_000_000, "HOLD", "the benchmark says so"))
        while not said:
            box.turn()
            time.sleep(0.01)

    before = os.times()
    found["own process"] = beside(rate_hz, own)
    box.stop()
    after = os.times()
    found["own process"]["child_cpu_s"] = round(
        after.children_user + after.children_system - before.children_user - before.children_system, 3
    )
    found["file_mb"] = round(Path(said[0][1]).stat().st_size / 1e6, 1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--json", type=Path, default=RESULTS)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), asked.seconds, asked.rate)
    rings = Rings.of(robot(Path("/nowhere"), asked.seconds, asked.rate), ROWS, Arena("benchmark").array)
    tap, data = rings.taps[0], memoryview(bytearray(44))
    found["cycle_us"] = round(5 * timed(lambda: tap.received(data), CALLS), 2)
    seen_picture = picture(0)
    bgr = np.zeros_like(seen_picture)
    found["picture_us"] = round(timed(lambda: jpeg(seen_picture, bgr, JPEG), 200), 1)
    found["picture_kb"] = round(len(jpeg(seen_picture, bgr, JPEG)) / 1e3, 1)
    found["machine"] = machine.describe(realtime.RealtimeReport((), ()))
    for key, value in found.items():
        print(f"{key:14} {value}")
    write_whole(asked.json, json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
