"""What the host adds to one serial cycle: sync write and sync read of six servos, ours beside the vendors' own SDKs.

    python -m benchmarks.serial_cycle [--cycles 1000] [--json FILE]

All clients take turns on the same pseudo-terminal, behind which simulated servos answer in a process of their own, at
the line's speed. The bare client writes the same bytes and reads as many: what it takes is wire, servos and kernel, and
what another takes beyond it ("host") is its own. "cpu" is what the client's thread takes of a processor, for which the
rest of the robot has to wait. Everything is measured on the machine as it is, and beside as many busy processes as it
has cores: the SDKs ask the port again and again until the answer is there, and so do without waking up as long as a
core is free for that. Exit code 1 where our driver takes more than `LIMIT_US` of either on the machine as it is, or
more than a third of the processor that the SDK takes, or adds more than a third of what the SDK adds beside busy ones.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import select
import signal
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import dynamixel_sdk
import numpy as np
import scservo_sdk
from rich.progress import Progress

from drivers.dynamixel import packets as dynamixel_packets
from drivers.feetech import packets as feetech_packets
from drivers.motors import dynamixel, feetech
from drivers.motors.base import BusSettings, MotorSettings
from drivers.sim.alone import ServosAlone
from drivers.sim.device import BITS_PER_BYTE
from edge_runtime.files import write_whole

RESULTS = Path(__file__).with_name("results") / "serial_cycle.json"
BAUD, USB_NS = 1_000_000, 1_000_000
IDS = range(1, 7)
MIDDLE = 2048
RAD_PER_STEP = 2 * np.pi / 4096
LIMIT_US, LESS_THAN_SDK = 150.0, 3.0
FIGURES = ("p50_us", "p99_us", "host_us", "cpu_us")
CONDITIONS = {"alone": 0, "beside_busy": os.cpu_count() or 1}
"""How many busy processes there are meanwhile."""
ROUNDS = 5
PAUSE_S = 0.002
SOON_NS = 1_000_000_000
"""A cycle that takes longer than this fails the benchmark."""

Span = tuple[int, int]
"""Address and bytes of registers."""


class Client(ABC):
    """Something that runs cycles on a port. `failed` counts reads that had to be tried again."""

    failed = 0

    @abstractmethod
    def cycle(self) -> None: ...

    @abstractmethod
    def close(self) -> None: ...


class Bare(Client):
    """Bytes out and bytes in, and no look at them."""

    def __init__(self, port: str, write: bytes, read: bytes, answer_bytes: int) -> None:
        self._fd = os.open(port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        self._write, self._read, self._answer_bytes = write, read, answer_bytes

    def cycle(self) -> None:
        os.write(self._fd, self._write)
        os.write(self._fd, self._read)
        left = self._answer_bytes
        while left:
            select.select([self._fd], [], [], SOON_NS * 1e-9)
            left -= len(os.read(self._fd, left))

    def close(self) -> None:
        os.close(self._fd)


class Ours(Client):
    """The driver."""

    def __init__(self, driver: Any, model: str, port: str) -> None:
        motors = tuple(MotorSettings(f"j{id}", id, model, MIDDLE, 1, (-3.1, 3.1), "hold") for id in IDS)
        self._bus = driver.Bus(BusSettings("arm", port, BAUD, motors))
        self._bus.connect(time.monotonic_ns() + SOON_NS)
        self._goal = np.zeros(len(IDS))

    def cycle(self) -> None:
        deadline_ns = time.monotonic_ns() + SOON_NS
        self._bus.write_setpoints(self._goal, deadline_ns)
        self._bus.read_state(deadline_ns)

    def close(self) -> None:
        self._bus.disconnect()


class Vendors(Client):
    """A vendor's SDK, used as its examples do, and its values turned into radians as everybody must."""

    def __init__(self, sdk: Any, protocol: float, goal: Span, state: Span, port: str) -> None:
        self._port = sdk.PortHandler(port)
        assert self._port.openPort()
        assert self._port.setBaudRate(BAUD)
        handler = sdk.PacketHandler(protocol)
        self._writer = sdk.GroupSyncWrite(self._port, handler, *goal)
        self._reader = sdk.GroupSyncRead(self._port, handler, *state)
        self._goal_size, self._address, self._size = goal[1], state[0], state[1] // 2
        self._done = sdk.COMM_SUCCESS
        self._ask: Callable[[], int] = getattr(self._reader, "fastSyncRead", self._reader.txRxPacket)
        for id in IDS:
            self._reader.addParam(id)
        self.values = np.zeros((len(IDS), 2))
        self.failed = 0

    def cycle(self) -> None:
        for id in IDS:
            self._writer.addParam(id, list(MIDDLE.to_bytes(self._goal_size, "little")))
        assert self._writer.txPacket() == self._done
        self._writer.clearParam()
        while self._ask() != self._done:  # its time limit, 34 ms, has passed without the answer
            self.failed += 1
        for index, id in enumerate(IDS):
            first = self._reader.getData(id, self._address, self._size)
            second = self._reader.getData(id, self._address + self._size, self._size)
            self.values[index] = first * RAD_PER_STEP, second * RAD_PER_STEP

    def close(self) -> None:
        self._port.closePort()


@dataclass(frozen=True)
class Protocol:
    """The packets of one cycle, and who sends them."""

    write: bytes
    read: bytes
    answer_bytes: int
    ours: Callable[[str], Client]
    sdk: Callable[[str], Client]

    @property
    def wire_us(self) -> float:
        """What the bytes take on the line; the answer comes with the end of a USB frame."""
        byte_us = BITS_PER_BYTE * 1e6 / BAUD
        frames = -(-self.answer_bytes * byte_us // (USB_NS * 1e-3))
        return (len(self.write) + len(self.read)) * byte_us + frames * USB_NS * 1e-3

    def clients(self, port: str) -> dict[str, Callable[[], Client]]:
        bare = partial(Bare, port, self.write, self.read, self.answer_bytes)
        return {"bare": bare, "ours": partial(self.ours, port), "sdk": partial(self.sdk, port)}


PROTOCOLS = {
    "feetech": Protocol(
        feetech_packets.sync_write(dict.fromkeys(IDS, MIDDLE.to_bytes(2, "little")), 42, 2),
        feetech_packets.sync_read(IDS, 56, 4),
        10 * len(IDS),
        partial(Ours, feetech, "sts3215"),
        partial(Vendors, scservo_sdk, 0, (42, 2), (56, 4)),
    ),
    "dynamixel": Protocol(
        dynamixel_packets.sync_write(dict.fromkeys(IDS, MIDDLE.to_bytes(4, "little")), 116, 4),
        dynamixel_packets.fast_sync_read(IDS, 128, 8),
        8 + 12 * len(IDS),
        partial(Ours, dynamixel, "xm430-w350"),
        partial(Vendors, dynamixel_sdk, 2.0, (116, 4), (128, 8)),
    ),
}


@contextmanager
def servos(protocol: str) -> Iterator[str]:
    """Simulated servos in a process of their own: their port."""
    with tempfile.TemporaryDirectory() as folder:
        live = multiprocessing.get_context("spawn").Process(target=_serve, args=(folder, protocol), daemon=True)
        live.start()
        port = Path(folder) / protocol
        while not port.exists():
            time.sleep(0.01)
        try:
            yield str(port)
        finally:
            live.terminate()
            live.join()


def _serve(folder: str, protocol: str) -> None:
    alone = ServosAlone(Path(folder), protocol, len(IDS), BAUD, USB_NS)
    signal.signal(signal.SIGTERM, lambda *_: alone.stop())
    alone.run()


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Processes that never wait."""
    context = multiprocessing.get_context("spawn")
    spinners = [context.Process(target=_spin, daemon=True) for _ in range(processes)]
    for spinner in spinners:
        spinner.start()
    try:
        yield
    finally:
        for spinner in spinners:
            spinner.terminate()
            spinner.join()


def _spin() -> None:
    while True:
        pass


def measure(client: Client, cycles: int) -> list[tuple[int, int]]:
    """Nanoseconds of each cycle: elapsed, and of this thread's processor time."""
    taken = []
    for _ in range(cycles):
        time.sleep(PAUSE_S)
        start_ns, start_cpu_ns = time.monotonic_ns(), time.thread_time_ns()
        client.cycle()
        taken.append((time.monotonic_ns() - start_ns, time.thread_time_ns() - start_cpu_ns))
    return taken


def compare(protocol: Protocol, port: str, cycles: int, step: Callable[[], None]) -> dict[str, Any]:
    """Figures of all clients of one protocol, which take turns."""
    taken: dict[str, list[tuple[int, int]]] = {}
    failed: dict[str, int] = {}
    for _ in range(ROUNDS):
        for name, make in protocol.clients(port).items():
            client = make()
            try:
                measure(client, 10)
                taken.setdefault(name, []).extend(measure(client, cycles // ROUNDS))
            finally:
                client.close()
            failed[name] = failed.get(name, 0) + client.failed
            step()
    found = {name: np.array(values) * 1e-3 for name, values in taken.items()}
    bare_us = float(np.median(found["bare"][:, 0]))
    return {name: {**_figures(values, bare_us), "failed": failed[name]} for name, values in found.items()}


def _figures(values: Any, bare_us: float) -> dict[str, float]:
    elapsed, cpu = np.percentile(values[:, 0], [50, 99]), np.median(values[:, 1])
    return dict(zip(FIGURES, (round(float(v), 1) for v in (*elapsed, elapsed[0] - bare_us, cpu)), strict=True))


def misses(protocol: str, results: dict[str, Any]) -> Iterator[str]:
    """Which figures are not what they should be."""
    alone, beside = results["alone"], results["beside_busy"]
    for figure in ("host_us", "cpu_us"):
        if alone["ours"][figure] > LIMIT_US:
            yield f"{protocol}: {figure} is {alone['ours'][figure]}, more than {LIMIT_US:g}"
    for found, figure in ((alone, "cpu_us"), (beside, "cpu_us"), (beside, "host_us")):
        if found["sdk"][figure] < LESS_THAN_SDK * found["ours"][figure]:
            yield f"{protocol}: {figure} of the SDK is {found['sdk'][figure]}, of ours {found['ours'][figure]}"


def show(results: dict[str, Any]) -> None:
    """The table for people."""
    print(f"{'':36}" + "".join(f"{figure.removesuffix('_us') + ' µs':>10}" for figure in FIGURES) + f"{'failed':>8}")
    for protocol, conditions in results.items():
        print(f"{protocol + ': on the wire':36}{PROTOCOLS[protocol].wire_us:>10g}")
        for condition, clients in conditions.items():
            for name, row in clients.items():
                cells = "".join(f"{row[figure]:>10g}" for figure in FIGURES) + f"{row['failed']:>8}"
                print(f"{protocol + ': ' + name + ', ' + condition.replace('_', ' '):36}{cells}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=1000, help="of each client (default 1000)")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help="write the table for programs")
    options = parser.parse_args()
    results: dict[str, Any] = {}
    with Progress(transient=True) as bar:
        task = bar.add_task("cycles", total=len(PROTOCOLS) * len(CONDITIONS) * ROUNDS * 3)
        for (name, protocol), (condition, processes) in product(PROTOCOLS.items(), CONDITIONS.items()):
            with servos(name) as port, busy(processes):
                found = compare(protocol, port, options.cycles, lambda: bar.advance(task))
            results.setdefault(name, {})[condition] = found
    show(results)
    wrong = [text for name, found in results.items() for text in misses(name, found)]
    print("\n".join(wrong) or "every figure is as it should be")
    about = {"machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"}
    figures: dict[str, Any] = {**about, "baud": BAUD, "usb_frame_us": USB_NS / 1000, "cycles": options.cycles}
    figures["wire_us"] = {name: protocol.wire_us for name, protocol in PROTOCOLS.items()}
    figures |= results
    write_whole(options.json, json.dumps(figures, indent=2) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
