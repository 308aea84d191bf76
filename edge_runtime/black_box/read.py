"""A black box's file as an incident again. The file may be anybody's: it is held to sizes and kinds, and one line says
what is wrong with it."""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np
import zstandard
from mcap.exceptions import EndOfFile, McapError
from mcap.records import Channel, Chunk, McapRecord, Message, Metadata, Schema
from mcap.stream_reader import StreamReader, breakup_chunk
from mcap.writer import MCAP0_MAGIC

from edge_runtime import protobuf
from edge_runtime.black_box.incident import Bytes, Frame, Header, Incident, Plan, Trigger
from edge_runtime.black_box.schema import (
    BUS,
    CAMERA,
    CHUNKS,
    EVENTS,
    INFERENCE,
    INFERENCE_KIND,
    LOOP,
    MEASURED,
    METADATA,
    SETPOINT,
    VERSION,
    kind_of,
)
from edge_runtime.black_box.schema import Schema as Kinds
from edge_runtime.errors import EdgeError, one_line, printable
from edge_runtime.limits import Floats
from edge_runtime.protobuf_table import Table
from edge_runtime.record import Event, Int64s

LARGEST_BYTES = 2 << 30
"""Of a file, and of what it unpacks to: the greatest black box that robot.toml allows has 1 GiB of pictures."""
LARGEST_RECORD = 64 << 20
"""Of one record and of one chunk, unpacked; ours have about one MiB."""
MOST_JOINTS = 256
FARTHEST_NS = 86_400_000_000_000
"""Of a message from the incident, and the longest of durations: a day, where ten minutes are the most that is kept."""
LARGEST_RAD = 1e9
"""Of an angle that was measured or commanded; a motor that counts its turns stays below."""
LONGEST_TEXT = 1000
_DEEPEST = 16

_DAMAGE = (
    McapError,
    ValueError,
    struct.error,
    zstandard.ZstdError,
    MemoryError,
    OverflowError,
    msgspec.MsgspecError,
    KeyError,
    RecursionError,
)
"""What comes of bytes that are not what they say they are."""


class IncidentError(EdgeError):
    """A file that is no black box, or a damaged one."""


@dataclass
class _Found:
    """What the file holds, as it comes."""

    metadata: dict[str, str] = field(default_factory=dict)
    schemas: dict[int, str] = field(default_factory=dict)
    topics: dict[int, str] = field(default_factory=dict)
    messages: dict[str, list[tuple[int, bytes]]] = field(default_factory=lambda: defaultdict(list))
    """By topic: when, by the wall clock, and what."""

    def take(self, record: McapRecord) -> None:
        if isinstance(record, Metadata) and record.name == METADATA:
            self.metadata = record.metadata
        elif isinstance(record, Schema):
            self.schemas[record.id] = record.name
        elif isinstance(record, Channel):
            if self.schemas.get(record.schema_id) != kind_of(record.topic):
                raise ValueError(f"topic {record.topic!r} is of another kind than a black box's")
            self.topics[record.id] = record.topic
        elif isinstance(record, Message):
            if record.channel_id not in self.topics:
                raise ValueError("a message belongs to no topic")
            self.messages[self.topics[record.channel_id]].append((record.log_time, record.data))


def read(path: Path) -> Incident:
    """Read all of it. Raises `IncidentError`, and `OSError` where there is no such file."""
    with path.open("rb") as file:
        try:
            return _incident(_found(file))
        except _DAMAGE as error:
            early = isinstance(error, (EndOfFile, struct.error))
            what = "it ends too early" if early else one_line(error) or type(error).__name__
            raise IncidentError(f"{path}: is no black box of this version, or a damaged one: {what}") from error


def _found(file: BinaryIO) -> _Found:
    size = file.seek(0, 2)
    file.seek(0)
    if size > LARGEST_BYTES:
        raise ValueError(f"{size} bytes are more than any black box has")
    if file.read(len(MCAP0_MAGIC)) != MCAP0_MAGIC:
        raise ValueError("it is no MCAP file")
    file.seek(0)
    found = _Found()
    for record in _records(file):
        found.take(record)
    return found


def _records(file: BinaryIO) -> Iterator[McapRecord]:
    """Every record, also those in chunks, none of which unpacks to more than it may."""
    left = LARGEST_BYTES
    for record in StreamReader(file, emit_chunks=True, record_size_limit=LARGEST_RECORD).records:
        if not isinstance(record, Chunk):
            yield record
            continue
        size = _unpacked(record)
        left -= size
        if size > LARGEST_RECORD or left < 0:
            raise ValueError(f"a chunk unpacks to {size} bytes, more than any of a black box")
        yield from breakup_chunk(record, validate_crc=True)


def _unpacked(chunk: Chunk) -> int:
    """Bytes that a chunk unpacks to. What it says itself is not trusted: the compressed frame says it, too."""
    if chunk.compression == "zstd":
        size: int = zstandard.get_frame_parameters(chunk.data).content_size
        if size != chunk.uncompressed_size:
            raise ValueError("a chunk is of another size than it says")
        return size
    if chunk.compression:
        raise ValueError(f"compression {chunk.compression!r} is none of a black box's")
    return len(chunk.data)


def _incident(found: _Found) -> Incident:
    if found.metadata.get("version") != VERSION:
        raise ValueError(f"it has no metadata {METADATA!r} of version {VERSION}")
    header = msgspec.convert(_tame(msgspec.json.decode(found.metadata["header"])), Header)
    trigger = msgspec.convert(_tame(msgspec.json.decode(found.metadata["trigger"])), Trigger)
    if not 0 < len(header.joints) <= MOST_JOINTS or not 0 < len(header.states) <= 127:
        raise ValueError(f"{len(header.joints)} joints and {len(header.states)} states are no robot's")
    wall_ns = trigger.t_ns + header.wall_ns
    if not (1 <= header.rate_hz <= 1000 and 0 <= trigger.t_ns < 1 << 62 and 0 <= wall_ns < 1 << 62):
        raise ValueError("its rate or its clock is no robot's")
    return _Reading(found, header, trigger).incident()


def _tame(value: Any, depth: int = _DEEPEST) -> Any:
    """What JSON has said, with its text as `_text` and no deeper than anything that we say."""
    if not depth:
        raise ValueError("its header is nested deeper than any")
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list):
        return [_tame(inner, depth - 1) for inner in value]
    if isinstance(value, dict):
        return {_text(name): _tame(inner, depth - 1) for name, inner in value.items()}
    return value


def _text(text: str) -> str:
    """As a terminal may be shown it, which would obey escapes and take a line break for the end of what we say."""
    return printable(text[:LONGEST_TEXT])


class _Reading:
    """Messages as what they mean; times leave the wall clock again."""

    def __init__(self, found: _Found, header: Header, trigger: Trigger) -> None:
        self._messages = found.messages
        self._header = header
        self._trigger = trigger
        self._kinds = Kinds.of(header.joints, header.states)

    def incident(self) -> Incident:
        times, ticks = self._table(LOOP, Table(self._kinds.tick))
        inference_ns, inferences = self._table(INFERENCE, Table(INFERENCE_KIND))
        if ticks["state"].max(initial=0) >= len(self._header.states):
            raise ValueError("a tick is in a state that the robot has not")
        if np.any(np.diff(times) <= 0):
            raise ValueError("two ticks are at once, or in the wrong order")
        return Incident(
            header=self._header,
            trigger=self._trigger,
            t_ns=times,
            lateness_ns=_ns(ticks["lateness_us"], 1e3),
            tick_ns=_ns(ticks["tick_us"], 1e3),
            serial_ns=_ns(ticks["serial_ms"], 1e6),
            sensor_age_ns=_ns(ticks["sensor_age_ms"], 1e6),
            sent_ns=_ns(ticks["sent_us"], 1e3),
            cpu_ns=_ns(ticks["cpu_us"], 1e3),
            state=ticks["state"].astype(np.int8),
            setpoint_rad=self._joints(SETPOINT, times),
            measured_rad=self._joints(MEASURED, times),
            inference_t_ns=inference_ns,
            inference_ns=_ns(inferences["duration_ms"], 1e6),
            chunks=[self._plan(t_ns, message) for t_ns, message in self._of(CHUNKS)],
            events=[_event(t_ns, message) for t_ns, message in self._of(EVENTS)],
            frames={camera: [_frame(*one) for one in self._of(CAMERA + camera)] for camera in self._header.cameras},
            bytes={bus: [_bytes(*one) for one in self._of(BUS + bus)] for bus in self._header.buses},
        )

    def _of(self, topic: str) -> Iterator[tuple[int, bytes]]:
        for wall_ns, message in self._messages.get(topic, ()):
            t_ns = wall_ns - self._header.wall_ns
            if abs(t_ns - self._trigger.t_ns) > FARTHEST_NS:
                raise ValueError(f"a message of topic {topic} is more than a day from the incident")
            yield t_ns, message

    def _table(self, topic: str, table: Table) -> tuple[Int64s, dict[str, Floats]]:
        messages = list(self._of(topic))
        return np.array([t_ns for t_ns, _ in messages], np.int64), table.decode([message for _, message in messages])

    def _joints(self, topic: str, times: Int64s) -> Floats:
        messages = list(self._of(topic))
        if [t_ns for t_ns, _ in messages] != times.tolist():
            raise ValueError(f"topic {topic} has other times than the loop")
        angles = Table(self._kinds.joints).decode_rows([message for _, message in messages])
        if np.any(np.abs(angles) > LARGEST_RAD):
            raise ValueError(f"an angle of topic {topic} is greater than any")
        return angles

    def _plan(self, t_ns: int, message: bytes) -> Plan:
        fields = protobuf.Message(message)
        age_ns, starts_ns, dt_ns = (round(fields.doubles[number] * 1e6) for number in (3, 4, 5))
        return Plan(
            t_ns=t_ns,
            sequence=fields.numbers.get(1, 0),
            request=fields.numbers.get(2, 0),
            capture_ns=t_ns - age_ns,
            start_ns=t_ns + starts_ns,
            dt_ns=dt_ns,
            actions=Table(self._kinds.joints).decode_rows(fields.parts(6)),
        )


def _ns(values: Floats, unit: float) -> Int64s:
    """Nanoseconds of figures in `unit`; -1 for what was not measured. Raises `ValueError` for what no time can be."""
    if np.any(np.abs(values) > FARTHEST_NS / unit):
        raise ValueError("a time is longer than any")
    return np.asarray(np.where(np.isnan(values), -1, np.rint(np.nan_to_num(values) * unit)), np.int64)


def _event(t_ns: int, message: bytes) -> Event:
    fields = protobuf.Message(message)
    name = fields.last(4).decode()
    return Event(t_ns, _text(name), _text(fields.last(3).decode().removeprefix(f"{name}: ")))


def _frame(t_ns: int, message: bytes) -> Frame:
    return Frame(t_ns, protobuf.Message(message).last(2))


def _bytes(t_ns: int, message: bytes) -> Bytes:
    fields = protobuf.Message(message)
    return Bytes(t_ns, fields.numbers.get(1, 0) == 1, bytes.fromhex(fields.last(2).decode()))
