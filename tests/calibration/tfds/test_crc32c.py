"""The checksum against published vectors and against its bit-by-bit definition."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.tfds.crc32c import crc32c, masked_crc32c
from tests.calibration.rlds_writer import masked, slow_crc32c


@pytest.mark.parametrize(
    ("data", "crc"),
    [  # RFC 3720, section B.4, and the usual check value
        (b"", 0x00000000),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(reversed(range(32))), 0x113FDB5C),
        (b"123456789", 0xE3069283),
    ],
)
def test_published_values(data: bytes, crc: int) -> None:
    assert crc32c(data) == crc


@given(st.binary(max_size=300))
def test_same_as_bit_by_bit(data: bytes) -> None:
    assert crc32c(memoryview(data)) == slow_crc32c(data)
    assert masked_crc32c(data) == masked(data)
