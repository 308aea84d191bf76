"""One serial cycle (sync write and sync read of six servos) with the simulator, beside a bare pseudo-terminal.

    python -m benchmarks.serial_cycle [--cycles 1000] [--watch] [--json FILE]

`--watch` has both cameras rendered and read meanwhile. The floor is a process that sleeps as long as wire and USB frame
take and then sends as many bytes: what is left is the kernel's, not ours.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
import tty
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from drivers.cameras.base import CameraSettings
from drivers.cameras.sim import Device
from drivers.feetech_packets import BITS_PER_BYTE, sync_read, sync_write
from drivers.motors.base import BusSettings, MotorSettings
from drivers.motors.feetech import Bus
from drivers.sim.arm import JOINTS
from drivers.sim.process import SimProcess

BAUD, USB_S, RATE_HZ = 1_000_000, 0.001, 100.0
IDS = range(1, len(JOINTS) + 1)
REQUEST = len(sync_write(dict.fromkeys(IDS, b"\0\0"), 42, 2)) + len(sync_read(IDS, 56, 4))
ANSWER = 10 * len(IDS)
WIRE_S = REQUEST * BITS_PER_BYTE / BAUD + max(USB_S, ANSWER * BITS_PER_BYTE / BAUD)


def paced(cycles: int, cycle: Any) -> list[float]:
    """Milliseconds that `cycle()` takes, called at the control rate."""
    times, start = [], time.monotonic()
    for k in range(cycles):
        time.sleep(max(0.0, start + k / RATE_HZ - time.monotonic()))
        before = time.monotonic_ns()
        cycle()
        times.append((time.monotonic_ns() - before) * 1e-6)
    return times


def driver(directory: Path, cycles: int) -> list[float]:
    """Write and read through the bus driver."""
    ids_and_names = zip(IDS, JOINTS, strict=True)
    motors = tuple(MotorSettings(name, id, "sts3215", 2048, 1, (-3.1, 3.1), "hold") for id, name in ids_and_names)
    bus = Bus(BusSettings("arm", str(directory / "arm"), BAUD, motors))
    bus.connect(time.monotonic_ns() + 5_000_000_000)
    goal = bus.state.position_rad.copy()

    def cycle() -> None:
        deadline_ns = time.monotonic_ns() + 500_000_000
        bus.write_setpoints(goal, deadline_ns)
        bus.read_state(deadline_ns)

    try:
        return paced(cycles, cycle)
    finally:
        bus.disconnect()


def floor(cycles: int) -> list[float]:
    """The same bytes at the same times over a bare pseudo-terminal."""
    far, near = os.openpty()
    tty.setraw(near)
    echo = multiprocessing.get_context("fork").Process(target=_echo, args=(far, cycles))
    echo.start()

    def cycle() -> None:
        os.write(near, bytes(REQUEST))
        left = ANSWER
        while left:
            left -= len(os.read(near, left))

    try:
        return paced(cycles, cycle)
    finally:
        echo.join()


def _echo(far: int, cycles: int) -> None:
    for _ in range(cycles):
        left = REQUEST
        while left:
            left -= len(os.read(far, left))
        time.sleep(WIRE_S)
        os.write(far, bytes(ANSWER))


def watch(directory: Path, name: str) -> None:
    """Read one camera until killed."""
    camera = Device(CameraSettings(name, str(directory / f"camera-{name}.sock"), 640, 480, 30.0))
    frame = np.zeros((480, 640, 3), np.uint8)
    camera.open()
    while True:
        camera.read_into(frame, 5.0)


def figures(times_ms: list[float]) -> dict[str, float]:
    values = np.percentile(times_ms, [50, 99, 99.9, 100])
    return dict(zip(("p50", "p99", "p99_9", "max"), (round(float(v), 3) for v in values), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=1000)
    parser.add_argument("--watch", action="store_true", help="read both cameras meanwhile")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        directory = Path(folder)
        stack.enter_context(SimProcess(directory))
        for name in ("base", "wrist") if options.watch else ():
            watcher = multiprocessing.get_context("spawn").Process(target=watch, args=(directory, name), daemon=True)
            watcher.start()
            stack.callback(watcher.terminate)
        times = {"driver_ms": driver(directory, options.cycles), "floor_ms": floor(options.cycles)}
    result = {"wire_ms": round(WIRE_S * 1e3, 3), **{name: figures(values) for name, values in times.items()}}
    print(f"wire and USB frame  {result['wire_ms']} ms")
    for name, values in times.items():
        print(f"{name[:-3]:<18}", "  ".join(f"{key} {value:.2f}" for key, value in figures(values).items()), "ms")
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
