"""Where the last seconds of a run are kept, and how another process makes an incident of them meanwhile."""

from __future__ import annotations

import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import numpy as np

from edge_runtime.arena import Allocate, Array
from edge_runtime.black_box.incident import Bytes, Frame, Header, Incident, Plan, Trigger
from edge_runtime.black_box.journal import SETTLE_S, Data, Journal, Record, records
from edge_runtime.chunk import Chunk
from edge_runtime.config import BlackBox, Bus, Robot
from edge_runtime.record import Event
from edge_runtime.recorder import whole_rows

EVENTS, EVENT_BYTES = 4096, 256
"""Most events, and bytes of one on average; a cause that is told is one line."""
CHUNKS_HZ = 30
"""Action chunks a second: inference that is faster is kept for a shorter time."""
BITS_PER_BYTE = 8
"""On the line a byte has ten and a CAN frame more: a journal for eight holds a line that is never silent."""
SENT, RECEIVED = 0, 1
"""Kinds of records of a bus."""

_PLAN = struct.Struct("<5q")
_MB = 1_000_000


class BusTap:
    """Keeps what goes over one bus (`drivers.tap.Tap`), on the control thread."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def sent(self, data: Data, /) -> None:
        if len(data):
            self._journal.add(time.monotonic_ns(), SENT, data)

    def received(self, data: Data, /) -> None:
        if len(data):
            self._journal.add(time.monotonic_ns(), RECEIVED, data)


class Chunks:
    """Keeps action chunks, on the inference thread."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def add(self, chunk: Chunk) -> None:
        """Keep a copy of a chunk that is ready."""
        times = (chunk.sequence, chunk.request, chunk.capture_ns, chunk.start_ns, chunk.dt_ns)
        self._journal.add(chunk.ready_ns, 0, _PLAN.pack(*times) + chunk.actions.tobytes())


class Events:
    """Keeps events, on the housekeeping thread."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def add(self, event: Event) -> None:
        self._journal.add(event.t_ns, 0, msgspec.json.encode((event.name, event.cause)))


@dataclass(frozen=True)
class Rings:
    """Everything but the ticks and inferences, which the run's own record has."""

    events: Events
    chunks: Chunks
    taps: tuple[BusTap, ...]
    """In the order of the robot's buses."""
    frames: tuple[Journal, ...]
    """In the order of its cameras."""

    @classmethod
    def of(cls, robot: Robot, rows: int, allocate: Allocate) -> Rings:
        """`rows` of a chunk."""
        box = robot.black_box
        chunk_bytes = _PLAN.size + rows * len(robot.joints) * 8
        chunks = int(box.seconds * CHUNKS_HZ)
        events = Journal(allocate, "events", EVENTS, EVENTS * EVENT_BYTES)
        return cls(
            events=Events(events),
            chunks=Chunks(Journal(allocate, "chunks", chunks, chunks * chunk_bytes)),
            taps=tuple(BusTap(_bus_journal(robot, bus, allocate)) for bus in robot.buses),
            frames=tuple(
                Journal(allocate, f"frames.{c.name}", frames_kept(box), frame_bytes(robot)) for c in robot.cameras
            ),
        )


def frames_kept(box: BlackBox) -> int:
    """Most frames of a camera."""
    return max(1, int(box.seconds * box.frames_hz))


def frame_bytes(robot: Robot) -> int:
    """Bytes for the frames of a camera."""
    return int(robot.black_box.frames_mb * _MB / len(robot.cameras)) if robot.black_box.frames_hz else 1


def _bus_journal(robot: Robot, bus: Bus, allocate: Allocate) -> Journal:
    """A cycle is a question and an answer each for a few motors at a time, at the most two pieces a motor."""
    box = robot.black_box
    pieces = int(box.seconds * robot.control.rate_hz) * (8 + 2 * len(bus.joints))
    return Journal(allocate, f"bus.{bus.name}", pieces, int(box.seconds * bus.baud / BITS_PER_BYTE))


def incident(arrays: Mapping[str, Array], header: Header, trigger: Trigger, settle_s: float = SETTLE_S) -> Incident:
    """The last seconds from the arrays of a run that may be going on."""
    since_ns = trigger.t_ns - int(header.seconds * 1e9)

    def kept(name: str) -> list[Record]:
        return [one for one in records(arrays, name, settle_s=settle_s) if one.t_ns >= since_ns]

    ticks = _rows(arrays, "ticks", since_ns, settle_s)
    inferences = _rows(arrays, "inferences", since_ns, settle_s)
    return Incident(
        header=header,
        trigger=trigger,
        t_ns=ticks["t_ns"],
        lateness_ns=ticks["lateness_ns"],
        tick_ns=ticks["tick_ns"],
        serial_ns=ticks["serial_ns"],
        sensor_age_ns=ticks["sensor_age_ns"],
        sent_ns=ticks["sent_ns"],
        cpu_ns=ticks["cpu_ns"],
        state=ticks["state"],
        setpoint_rad=ticks["setpoint_rad"],
        measured_rad=ticks["measured_rad"],
        inference_t_ns=inferences["t_ns"],
        inference_ns=inferences["duration_ns"],
        chunks=[_plan(one, len(header.joints)) for one in kept("chunks")],
        events=[Event(one.t_ns, *msgspec.json.decode(one.data, type=tuple[str, str])) for one in kept("events")],
        frames={name: [Frame(one.t_ns, one.data) for one in kept(f"frames.{name}")] for name in header.cameras},
        bytes={
            name: [Bytes(one.t_ns, one.kind == RECEIVED, one.data) for one in kept(f"bus.{name}")]
            for name in header.buses
        },
    )


def _rows(arrays: Mapping[str, Array], name: str, since_ns: int, settle_s: float) -> dict[str, Array]:
    """Columns of a recorder, whole rows only."""
    columns = {key.removeprefix(f"{name}."): value for key, value in arrays.items() if key.startswith(f"{name}.")}
    before_ns = columns["t_ns"].copy()
    time.sleep(settle_s)
    copied = {key: value.copy() for key, value in columns.items()}
    time.sleep(settle_s)
    rows = whole_rows(before_ns, columns["t_ns"].copy(), since_ns)
    return {key: value[rows] for key, value in copied.items()}


def _plan(record: Record, joints: int) -> Plan:
    sequence, request, capture_ns, start_ns, dt_ns = _PLAN.unpack_from(record.data)
    actions = np.frombuffer(record.data, np.float64, offset=_PLAN.size).reshape(-1, joints)
    return Plan(record.t_ns, sequence, request, capture_ns, start_ns, dt_ns, actions)
