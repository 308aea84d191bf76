"""The black box's file: the official reader and Google's own protocol buffers read it, so do we, and nothing else."""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from mcap.reader import make_reader
from mcap.writer import CompressionType, Writer

from edge_runtime.black_box import read, write
from edge_runtime.black_box.incident import Incident
from edge_runtime.black_box.read import IncidentError
from edge_runtime.black_box.schema import field_names
from tests.edge_runtime.black_box.incidents import AT_NS, JPEG, WALL_NS, incident

google = pytest.importorskip("google.protobuf", reason="protobuf is not installed: pip install protobuf")

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # noqa: E402


def file_of(one: Incident) -> bytes:
    file = io.BytesIO()
    write.write(one, file)
    return file.getvalue()


WHOLE = file_of(incident())


def decoded(data: bytes) -> dict[str, list[tuple[int, str, Any]]]:
    """By topic: log time, schema name, and the message as Google's library decodes it by the file's own schema."""
    found: dict[str, list[tuple[int, str, Any]]] = {}
    for schema, channel, message in make_reader(io.BytesIO(data), validate_crcs=True).iter_messages():
        assert schema is not None
        assert (schema.encoding, channel.message_encoding) == ("protobuf", "protobuf")
        pool = descriptor_pool.DescriptorPool()
        for file in descriptor_pb2.FileDescriptorSet.FromString(schema.data).file:
            pool.Add(file)
        kind = message_factory.GetMessageClass(pool.FindMessageTypeByName(schema.name))
        found.setdefault(channel.topic, []).append((message.log_time, schema.name, kind.FromString(message.data)))
    return found


def test_what_was_written_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.mcap").write_bytes(WHOLE)
    one, two = incident(), read.read(tmp_path / "a.mcap")
    for name in Incident.__dataclass_fields__:
        have, want = getattr(two, name), getattr(one, name)
        if isinstance(want, np.ndarray):
            assert have.dtype == want.dtype
            np.testing.assert_array_equal(have, want)
        elif name == "chunks":
            np.testing.assert_array_equal(have[0].actions, want[0].actions)
            names = ("t_ns", "sequence", "request", "capture_ns", "start_ns", "dt_ns")
            assert [getattr(have[0], n) for n in names] == [getattr(want[0], n) for n in names]
        else:
            assert have == want


def test_the_official_reader_finds_every_topic_in_order_of_time() -> None:
    reader = make_reader(io.BytesIO(WHOLE))
    summary = reader.get_summary()
    assert summary is not None
    assert summary.statistics is not None
    times = [message.log_time for _, _, message in reader.iter_messages(log_time_order=False)]
    assert times == sorted(times)
    counts = {c.topic: summary.statistics.channel_message_counts[i] for i, c in summary.channels.items()}
    assert counts == {
        **dict.fromkeys(("/loop", "/joints/setpoint_rad", "/joints/measured_rad"), 175),
        "/inference": 3,
        "/chunks": 1,
        "/events": 2,
        "/camera/base": 6,
        "/bus/arm": 2,
    }
    metadata = next(iter(reader.iter_metadata()))
    assert (metadata.name, metadata.metadata["robot"], metadata.metadata["state"]) == ("edge", "bench arm", "HOLD")


def test_messages_are_what_their_schemas_say() -> None:
    found, one = decoded(WHOLE), incident()
    at, kind, tick = found["/loop"][100]
    assert (at, kind) == (int(one.t_ns[100]) + WALL_NS, "edge.Tick")
    assert tick.lateness_us == one.lateness_ns[100] / 1e3
    assert tick.DESCRIPTOR.fields_by_name["state"].enum_type.values_by_number[tick.state].name == "RUN"
    assert np.isnan(found["/loop"][-1][2].sensor_age_ms)
    setpoint = found["/joints/setpoint_rad"][100][2]
    assert [setpoint.shoulder_pan, setpoint.left_elbow, setpoint.gripper] == one.setpoint_rad[100].tolist()
    chunk = found["/chunks"][0][2]
    assert [row.gripper for row in chunk.actions] == one.chunks[0].actions[:, 2].tolist()
    assert (chunk.sequence, chunk.age_ms, chunk.dt_ms) == (3, 40.0, 50.0)
    assert [(m.direction, m.hex) for _, _, m in found["/bus/arm"]] == [(0, "ff ff 01"), (1, "ff ff 02 00")]
    assert found["/inference"][1][2].duration_ms == 62.500123


def test_pictures_and_events_are_foxgloves_own_kinds() -> None:
    """Names, numbers and types as in foxglove-sdk, schemas/proto/foxglove/CompressedImage.proto and Log.proto."""
    found = decoded(WHOLE)
    _, kind, image = found["/camera/base"][-1]
    assert kind == "foxglove.CompressedImage"
    numbers = {field.name: (field.number, field.type) for field in image.DESCRIPTOR.fields}
    assert numbers == {"timestamp": (1, 11), "data": (2, 12), "format": (3, 9), "frame_id": (4, 9)}
    assert (image.data, image.format, image.frame_id) == (JPEG + b"\n", "jpeg", "base")
    assert image.timestamp.seconds * 10**9 + image.timestamp.nanos == AT_NS + WALL_NS
    assert image.timestamp.DESCRIPTOR.full_name == "google.protobuf.Timestamp"
    _, kind, log = found["/events"][1]
    assert kind == "foxglove.Log"
    assert {field.name: field.number for field in log.DESCRIPTOR.fields} == {
        "timestamp": 1,
        "level": 2,
        "message": 3,
        "name": 4,
    }
    levels = [value.name for value in log.DESCRIPTOR.enum_types_by_name["Level"].values]
    assert levels == ["UNKNOWN", "DEBUG", "INFO", "WARNING", "ERROR", "FATAL"]
    assert (log.level, log.name) == (3, "HOLD")
    assert log.message == "HOLD: newest frame of camera <wrist> is 214 ms old, limit 200 ms"


def test_names_of_joints_as_fields() -> None:
    assert field_names(["a-b", "left.x", "1st", "_y", "ok"]) == ["a_b", "left_x", "joint_1st", "joint__y", "ok"]
    assert field_names(["a.b", "a-b", "c"]) == ["a_b_0", "a_b_1", "c"]


def test_many_joints_have_numbers_of_two_bytes(tmp_path: Path) -> None:
    one = incident()
    names = tuple(f"j{k}" for k in range(40))
    wide = np.tile(one.measured_rad[:, :1], 40)
    one.header = msgspec.structs.replace(one.header, joints=names)
    one.setpoint_rad, one.measured_rad, one.chunks = wide, wide * 2, []
    (tmp_path / "a.mcap").write_bytes(file_of(one))
    np.testing.assert_array_equal(read.read(tmp_path / "a.mcap").measured_rad, wide * 2)
    assert decoded(file_of(one))["/joints/measured_rad"][7][2].j39 == wide[7, 39] * 2


@given(cut=st.integers(0, len(WHOLE) - 1))
def test_a_file_that_was_cut_short_is_refused(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.mcap"
    path.write_bytes(WHOLE[:cut])
    with pytest.raises(IncidentError, match="is no black box of this version, or a damaged one") as caught:
        read.read(path)
    assert "\n" not in str(caught.value)


@given(at=st.integers(0, len(WHOLE) - 1), value=st.integers(0, 255))
def test_any_byte_may_be_another(tmp_path_factory: pytest.TempPathFactory, at: int, value: int) -> None:
    path = tmp_path_factory.getbasetemp() / "changed.mcap"
    path.write_bytes(WHOLE[:at] + bytes([value]) + WHOLE[at + 1 :])
    with suppress(IncidentError):  # and nothing else
        read.read(path)


def foreign(**metadata: str) -> bytes:
    file = io.BytesIO()
    writer = Writer(file, compression=CompressionType.NONE)
    writer.start()
    if metadata:
        writer.add_metadata("edge", metadata)
    schema = writer.register_schema("other", "jsonschema", b"{}")
    channel = writer.register_channel("/loop", "json", schema)
    writer.add_message(channel, 1, b"{}", 1)
    writer.finish()
    return file.getvalue()


def bomb(says: int) -> bytes:
    """A chunk of a hundred million bytes that says it has `says`."""
    packed = zstandard.compress(bytes(100_000_000))
    body = struct.pack("<QQQII", 0, 0, says, 0, 4) + b"zstd" + struct.pack("<Q", len(packed)) + packed
    head = bytes((137, 77, 67, 65, 80, 48, 13, 10))
    return head + b"\x01" + struct.pack("<Q", 8) + bytes(8) + b"\x06" + struct.pack("<Q", len(body)) + body


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "it is no MCAP file"),
        (b"not at all", "it is no MCAP file"),
        (foreign(), "topic '/loop' is of another kind"),
        (foreign(version="1"), "topic '/loop' is of another kind"),
        (bomb(1000), "a chunk is of another size than it says"),
        (bomb(100_000_000), "a chunk unpacks to 100000000 bytes"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, data: bytes, says: str) -> None:
    (tmp_path / "a.mcap").write_bytes(data)
    with pytest.raises(IncidentError, match=says):
        read.read(tmp_path / "a.mcap")


def test_an_incident_before_the_first_tick(tmp_path: Path) -> None:
    one, nothing = incident(), np.zeros(0, np.int64)
    one.t_ns = one.lateness_ns = one.tick_ns = one.serial_ns = one.sensor_age_ns = one.sent_ns = one.cpu_ns = nothing
    one.inference_t_ns = one.inference_ns = nothing
    one.state, one.setpoint_rad, one.measured_rad = np.zeros(0, np.int8), np.zeros((0, 3)), np.zeros((0, 3))
    one.chunks, one.frames, one.bytes = [], {"base": [], "wrist": []}, {"arm": []}
    (tmp_path / "a.mcap").write_bytes(file_of(one))
    two = read.read(tmp_path / "a.mcap")
    assert two.measured_rad.shape == (0, 3)
    assert two.events == one.events
