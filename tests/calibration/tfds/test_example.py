"""The protobuf parser: what TensorFlow may write, and that no bytes whatever do anything but raise WireError."""

import contextlib
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.tfds.example import WireError, parse_example
from tests.calibration.rlds_writer import example, field, varint

WHOLE = example({"a": [b"x", b"", b"yz"], "b": [1.5, -2.0], "c": [1, 2**40]})


def entry(name: bytes, feature: bytes) -> bytes:
    return field(1, field(1, field(1, name) + field(2, feature)))


def test_values_come_back() -> None:
    features = parse_example(WHOLE)
    assert features["a"].bytes_values() == [b"x", b"", b"yz"]
    np.testing.assert_array_equal(features["b"].float_values(), np.array([1.5, -2.0], np.float32))
    assert features["c"].kind == "integers"


def test_unpacked_floats_and_unknown_fields_are_protobuf_too() -> None:
    unpacked = b"".join(varint(1 << 3 | 5) + struct.pack("<f", v) for v in (1.0, 2.0))
    unknown = varint(9 << 3) + varint(2**60) + varint(8 << 3 | 1) + bytes(8) + field(7, b"abc")
    features = parse_example(unknown + entry(b"x", field(2, unpacked + field(1, struct.pack("<f", 3.0)))))
    np.testing.assert_array_equal(features["x"].float_values(), np.array([1, 2, 3], np.float32))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\x0a", "does not end"),
        (b"\x0a\x05ab", "a field of 5 bytes"),
        (b"\x0a" + b"\xff" * 12, "more than 64 bits"),
        (b"\x0a" + b"\xff" * 9 + b"\x7f", "more than 64 bits"),
        (b"\x0b", "wire type 3"),
        (b"\x02\x00", "field number 0"),
        (b"\x08\x01", "features of wire type 0"),
        (field(1, field(1, field(1, b"k"))), "1 keys and 0 values"),
        (entry(b"k", b""), "not one list"),
        (entry(b"k", field(1, b"") + field(2, b"")), "not one list"),
        (entry(b"\xff", field(1, b"")), "not UTF-8"),
        (entry(b"k", field(1, b"")) * 2, "is there twice"),
    ],
)
def test_damage_is_named(data: bytes, says: str) -> None:
    with pytest.raises(WireError, match=says):
        parse_example(data)


def test_the_wrong_kind_of_values_is_named() -> None:
    features = parse_example(WHOLE)
    with pytest.raises(WireError, match="'c': holds integers, floats are expected"):
        features["c"].float_values()
    with pytest.raises(WireError, match="'b': holds floats, bytes are expected"):
        features["b"].bytes_values()


def test_half_a_float_is_named() -> None:
    features = parse_example(entry(b"k", field(2, field(1, b"abc"))))
    with pytest.raises(WireError, match="no float32 values"):
        features["k"].float_values()


def read_all(data: bytes) -> None:
    with contextlib.suppress(WireError):
        for feature in parse_example(data).values():
            with contextlib.suppress(WireError):
                feature.bytes_values()
            with contextlib.suppress(WireError):
                feature.float_values()


@given(st.binary(max_size=120))
def test_any_bytes(data: bytes) -> None:
    read_all(data)


@settings(max_examples=400)
@given(st.data())
def test_damaged_examples(data: st.DataObject) -> None:
    damaged = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    read_all(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]))
