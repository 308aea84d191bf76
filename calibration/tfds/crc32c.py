"""CRC-32C (Castagnoli), the checksum of TFRecord files, over a whole buffer at once with numpy.

A CRC register that starts at zero is linear over GF(2): the register after `a + b` is the register after `a`, moved on
by len(b) zero bytes, xor the register after `b`. So the data is cut into words, each word becomes its register, and
neighbours are merged pairwise; moving on by 2^k bytes is one 32x32 bit matrix, kept as four tables of 256 words.
About 140 MB/s on one core, against 12 MB/s for the usual table loop; decoding the images beside it is slower than that.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint32]

_POLYNOMIAL = 0x82F63B78  # RFC 3720, section B.4, bit-reversed
_ALL = 0xFFFFFFFF
_TO_ALL_ONES = bytes.fromhex("54641f64")  # four bytes that take the register from zero to all ones, its true start
_MASK_DELTA = 0xA282EAD8  # tensorflow/core/lib/hash/crc32c.h: a CRC stored beside its data is rotated and offset


def crc32c(data: bytes | memoryview) -> int:
    """CRC-32C of `data`."""
    pad = -len(data) % 4  # zeros in front: they do not move a register that is zero
    words = np.frombuffer(bytes(pad) + _TO_ALL_ONES + data, "<u4")
    register = _moved(2, words)
    power = 2
    while len(register) > 1:
        if len(register) % 2:
            register = np.concatenate([np.zeros(1, np.uint32), register])
        register = _moved(power, np.ascontiguousarray(register[0::2])) ^ register[1::2]
        power += 1
    return int(register[0]) ^ _ALL


def masked_crc32c(data: bytes | memoryview) -> int:
    """CRC-32C of `data` as a TFRecord stores it."""
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & _ALL


def _moved(power: int, register: Words) -> Words:
    """Each register [n] after 2^power more zero bytes."""
    tables = _zeros_tables(power)
    octets = register.view(np.uint8).reshape(-1, 4)  # little-endian machines only, as everything here is
    moved: Words = tables[0][octets[:, 0]] ^ tables[1][octets[:, 1]] ^ tables[2][octets[:, 2]] ^ tables[3][octets[:, 3]]
    return moved


@cache
def _byte_table() -> Words:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = (table >> 1) ^ (np.uint32(_POLYNOMIAL) * (table & 1))
    return table


@cache
def _zeros_tables(power: int) -> Words:
    """[4, 256]: what each value of each byte of a register becomes after 2^power zero bytes."""
    unit = np.uint32(1) << np.arange(32, dtype=np.uint32)
    if power == 0:
        after = (unit >> 8) ^ _byte_table()[unit & 0xFF]
    else:
        after = _moved(power - 1, _moved(power - 1, unit))
    tables = np.zeros((4, 256), np.uint32)
    value = np.arange(256, dtype=np.uint32)
    for bit in range(32):
        tables[bit // 8] ^= ((value >> (bit % 8)) & 1).astype(np.uint32) * after[bit]
    return tables
