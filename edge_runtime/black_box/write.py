"""An incident as MCAP (mcap.dev/spec), which Foxglove and rerun open: every figure on one time axis, the wall clock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import BinaryIO

import msgspec
import numpy as np
from mcap.writer import Writer

from edge_runtime.arena import Array
from edge_runtime.black_box.incident import Incident
from edge_runtime.black_box.schema import (
    BUS,
    CAMERA,
    CHUNKS,
    EVENTS,
    INFERENCE,
    INFERENCE_KIND,
    LEVELS,
    LOOP,
    MEASURED,
    METADATA,
    SETPOINT,
    VERSION,
    Schema,
    kind_of,
)
from edge_runtime.protobuf_table import Table
from edge_runtime.protobuf_write import data, double, integer
from edge_runtime.record import Int64s

LIBRARY = "edge-runtime"
_SERIOUS = ("HOLD", "SAFE", "COAST")

Item = tuple[int, str, bytes]
"""A message: when (CLOCK_MONOTONIC ns), on which topic, and its bytes."""


def write(incident: Incident, file: BinaryIO) -> None:
    """Write all of it in the order of time. Raises `OSError`."""
    header = incident.header
    schema = Schema.of(header.joints, header.states)
    items = sorted(_items(incident, schema), key=itemgetter(0))
    writer = Writer(file)
    writer.start(library=LIBRARY)
    writer.add_metadata(METADATA, _metadata(incident))
    kinds: dict[str, int] = {}
    channels: dict[str, int] = {}
    for number, (t_ns, topic, content) in enumerate(items):
        if topic not in channels:
            name = kind_of(topic)
            if name not in kinds:
                kinds[name] = writer.register_schema(name, "protobuf", schema.described(name))
            channels[topic] = writer.register_channel(topic, "protobuf", kinds[name])
        wall_ns = t_ns + header.wall_ns
        writer.add_message(channels[topic], wall_ns, content, wall_ns, number)
    writer.finish()  # type: ignore[no-untyped-call]


def _metadata(incident: Incident) -> dict[str, str]:
    header, trigger = incident.header, incident.trigger
    return {
        "version": VERSION,
        "robot": header.robot,
        "state": trigger.state,
        "cause": trigger.cause,
        "trigger": msgspec.json.encode(trigger).decode(),
        "header": msgspec.json.encode(header).decode(),
    }


def _items(incident: Incident, schema: Schema) -> Iterator[Item]:
    wall_ns = incident.header.wall_ns
    yield from _ticks(incident, schema)
    durations = Table(INFERENCE_KIND).encode({"duration_ms": incident.inference_ns / 1e6})
    yield from _on(INFERENCE, incident.inference_t_ns.tolist(), durations)
    yield from _chunks(incident, schema)
    for event in incident.events:
        level = LEVELS.index("WARNING" if event.name.partition(" ")[0] in _SERIOUS else "INFO")
        said = data(3, f"{event.name}: {event.cause}") + data(4, event.name)
        yield event.t_ns, EVENTS, _stamp(event.t_ns + wall_ns) + integer(2, level) + said
    for camera, frames in incident.frames.items():
        about = data(3, "jpeg") + data(4, camera)
        for frame in frames:
            yield frame.t_ns, CAMERA + camera, _stamp(frame.t_ns + wall_ns) + data(2, frame.jpeg) + about
    for bus, pieces in incident.bytes.items():
        for piece in pieces:
            yield piece.t_ns, BUS + bus, integer(1, piece.received) + data(2, piece.data.hex(" "))


def _ticks(incident: Incident, schema: Schema) -> Iterator[Item]:
    times = incident.t_ns.tolist()
    columns: dict[str, Array] = {
        "state": incident.state,
        "lateness_us": incident.lateness_ns / 1e3,
        "tick_us": incident.tick_ns / 1e3,
        "serial_ms": incident.serial_ns / 1e6,
        "sensor_age_ms": _measured(incident.sensor_age_ns, 1e6),
        "sent_us": _measured(incident.sent_ns, 1e3),
        "cpu_us": _measured(incident.cpu_ns, 1e3),
    }
    yield from _on(LOOP, times, Table(schema.tick).encode(columns))
    joints = Table(schema.joints)
    for topic, values in ((SETPOINT, incident.setpoint_rad), (MEASURED, incident.measured_rad)):
        yield from _on(topic, times, joints.encode_rows(values))


def _chunks(incident: Incident, schema: Schema) -> Iterator[Item]:
    joints = Table(schema.joints)
    for plan in incident.chunks:
        rows = joints.encode_rows(plan.actions)
        head = integer(1, plan.sequence) + integer(2, plan.request)
        times = (plan.t_ns - plan.capture_ns, plan.start_ns - plan.t_ns, plan.dt_ns)
        figures = b"".join(double(number, ns / 1e6) for number, ns in enumerate(times, 3))
        yield plan.t_ns, CHUNKS, head + figures + b"".join(data(6, row) for row in rows)


def _measured(times_ns: Int64s, unit: float) -> Array:
    """In `unit`; NaN for -1, which stands for what was not measured."""
    return np.asarray(np.where(times_ns >= 0, times_ns / unit, np.nan))


def _on(topic: str, times: Iterable[int], messages: Iterable[bytes]) -> Iterator[Item]:
    for t_ns, content in zip(times, messages, strict=True):
        yield t_ns, topic, content


def _stamp(wall_ns: int) -> bytes:
    """Field 1, a Timestamp."""
    seconds, nanos = divmod(wall_ns, 1_000_000_000)
    return data(1, integer(1, seconds) + integer(2, nanos))
