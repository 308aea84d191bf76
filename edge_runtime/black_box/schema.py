"""The topics of a black box and what their messages are: protocol buffers, which Foxglove and rerun both read.

Pictures and events are Foxglove's own kinds (foxglove-sdk, schemas/proto/foxglove: CompressedImage.proto and Log.proto,
without the fields that a black box leaves empty), everything else is described in `edge.proto`, which a file carries.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from edge_runtime.protobuf_write import (
    DATA,
    DOUBLE,
    ENUM,
    INT32,
    INT64,
    MESSAGE,
    STRING,
    UINT32,
    Enum,
    Field,
    File,
    Kind,
    describe,
)

VERSION = "1"
"""Of what is laid down here."""
LOOP, SETPOINT, MEASURED = "/loop", "/joints/setpoint_rad", "/joints/measured_rad"
INFERENCE, CHUNKS, EVENTS = "/inference", "/chunks", "/events"
CAMERA, BUS = "/camera/", "/bus/"
"""Followed by the camera's or the bus's name."""
METADATA = "edge"
"""Name of the metadata record."""

_TIMESTAMP = File(
    "google/protobuf/timestamp.proto",
    "google.protobuf",
    (Kind("Timestamp", (Field("seconds", 1, INT64), Field("nanos", 2, INT32))),),
)
_STAMP = Field("timestamp", 1, MESSAGE, "google.protobuf.Timestamp")
_IMAGE = File(
    "foxglove/CompressedImage.proto",
    "foxglove",
    (
        Kind(
            "CompressedImage",
            (_STAMP, Field("data", 2, DATA), Field("format", 3, STRING), Field("frame_id", 4, STRING)),
        ),
    ),
    (_TIMESTAMP.name,),
)
LEVELS = ("UNKNOWN", "DEBUG", "INFO", "WARNING", "ERROR", "FATAL")
_LOG = File(
    "foxglove/Log.proto",
    "foxglove",
    (
        Kind(
            "Log",
            (
                _STAMP,
                Field("level", 2, ENUM, "foxglove.Log.Level"),
                Field("message", 3, STRING),
                Field("name", 4, STRING),
            ),
            (Enum("Level", LEVELS),),
        ),
    ),
    (_TIMESTAMP.name,),
)
INFERENCE_KIND = Kind("Inference", (Field("duration_ms", 1, DOUBLE),))
_CHUNK = Kind(
    "Chunk",
    (
        Field("sequence", 1, UINT32),
        Field("request", 2, UINT32),
        Field("age_ms", 3, DOUBLE),
        Field("starts_ms", 4, DOUBLE),
        Field("dt_ms", 5, DOUBLE),
        Field("actions", 6, MESSAGE, "edge.Joints", repeated=True),
    ),
)
"""When it is ready, its frames are `age_ms` old, and its first row is due `starts_ms` from then."""
DIRECTIONS = ("SENT", "RECEIVED")
_BYTES = Kind(
    "Bytes",
    (Field("direction", 1, ENUM, "edge.Bytes.Direction"), Field("hex", 2, STRING)),
    (Enum("Direction", DIRECTIONS),),
)


@dataclass(frozen=True)
class Schema:
    """The kinds of message of one robot."""

    joints: Kind
    """A figure for each joint, by its name as far as a field can have that name."""
    tick: Kind

    @classmethod
    def of(cls, joints: Sequence[str], states: Sequence[str]) -> Schema:
        """For these names, in joint order and by the number of the state."""
        fields = tuple(Field(name, number, DOUBLE) for number, name in enumerate(field_names(joints), 1))
        figures = ("lateness_us", "tick_us", "serial_ms", "sensor_age_ms", "sent_us", "cpu_us")
        tick = (
            Field("state", 1, ENUM, "edge.Tick.State"),
            *(Field(name, number, DOUBLE) for number, name in enumerate(figures, 2)),
        )
        return cls(Kind("Joints", fields), Kind("Tick", tick, (Enum("State", tuple(states)),)))

    def described(self, name: str) -> bytes:
        """The description that goes with a kind by its full name, such as `edge.Tick`: a FileDescriptorSet."""
        if name.startswith("foxglove."):
            return describe((_TIMESTAMP, _IMAGE if name == "foxglove.CompressedImage" else _LOG))
        return describe((File("edge.proto", "edge", (self.joints, self.tick, INFERENCE_KIND, _CHUNK, _BYTES)),))


def kind_of(topic: str) -> str:
    """Full name of the kind of a topic's messages."""
    fixed = {
        LOOP: "edge.Tick",
        SETPOINT: "edge.Joints",
        MEASURED: "edge.Joints",
        INFERENCE: "edge.Inference",
        CHUNKS: "edge.Chunk",
        EVENTS: "foxglove.Log",
    }
    return fixed.get(topic) or ("foxglove.CompressedImage" if topic.startswith(CAMERA) else "edge.Bytes")


def field_names(names: Sequence[str]) -> list[str]:
    """Names as fields may have them: letters, digits and underscores, beginning with a letter, no two the same."""
    made = [re.sub(r"^(?=[^A-Za-z])", "joint_", re.sub(r"[^A-Za-z0-9]", "_", name)) for name in names]
    return [name if made.count(name) == 1 else f"{name}_{index}" for index, name in enumerate(made)]
