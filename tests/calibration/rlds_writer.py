"""A tiny RLDS dataset on disk, written by code that shares nothing with the reader: the tests' side of the format."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np

Value = list[bytes] | list[float] | list[int]


def slow_crc32c(data: bytes) -> int:
    """CRC-32C bit by bit, as its definition has it."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


def masked(data: bytes) -> int:
    crc = slow_crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def frame_record(data: bytes) -> bytes:
    """One TFRecord."""
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked(length)) + data + struct.pack("<I", masked(data))


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, payload: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def feature(values: Value) -> bytes:
    """A tf.train.Feature."""
    if values and isinstance(values[0], bytes):
        return field(1, b"".join(field(1, v) for v in values))
    if values and isinstance(values[0], float):
        return field(2, field(1, struct.pack(f"<{len(values)}f", *values)))
    return field(3, field(1, b"".join(varint(int(v)) for v in values)))


def example(features: dict[str, Value]) -> bytes:
    """A serialized tf.train.Example."""
    return field(1, b"".join(field(1, field(1, k.encode()) + field(2, feature(v))) for k, v in features.items()))


def image(step: int, height: int = 12, width: int = 16) -> np.ndarray[Any, Any]:
    """A picture that no other step has: red grows with the step, green to the right, blue downwards."""
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[..., 0] = 20 * step
    rgb[..., 1] = np.linspace(0, 255, width, dtype=np.uint8)
    rgb[..., 2] = np.linspace(0, 255, height, dtype=np.uint8)[:, None]
    return rgb


def png(rgb: np.ndarray[Any, Any]) -> bytes:
    return bytes(cv2.imencode(".png", rgb[..., ::-1])[1])


def episode(steps: int = 4, instruction: str = "put the cup down", state: int = 3, action: int = 2) -> dict[str, Value]:
    """One episode: state[t] = t + [0, .1, .2], action[t] = -t - [0, .1], camera `eye`."""
    return {
        "steps/observation/eye": [png(image(t)) for t in range(steps)],
        "steps/observation/state": [t + k / 10 for t in range(steps) for k in range(state)],
        "steps/action": [-t - k / 10 for t in range(steps) for k in range(action)],
        "steps/language_instruction": [instruction.encode()] * steps,
        "steps/is_first": [1] + [0] * (steps - 1),
        "steps/is_last": [0] * (steps - 1) + [1],
    }


def _tensor(*shape: int, dtype: str = "float32") -> dict[str, Any]:
    return {"tensor": {"shape": {"dimensions": [str(n) for n in shape]}, "dtype": dtype, "encoding": "none"}}


FEATURES: dict[str, Any] = {
    "featuresDict": {
        "features": {
            "steps": {
                "sequence": {
                    "length": "-1",
                    "feature": {
                        "featuresDict": {
                            "features": {
                                "observation": {
                                    "featuresDict": {
                                        "features": {
                                            "eye": {
                                                "image": {
                                                    "shape": {"dimensions": ["12", "16", "3"]},
                                                    "dtype": "uint8",
                                                    "encodingFormat": "png",
                                                }
                                            },
                                            "depth": {
                                                "image": {"shape": {"dimensions": ["12", "16", "1"]}, "dtype": "uint16"}
                                            },
                                            "state": _tensor(3),
                                        }
                                    }
                                },
                                "action": _tensor(2),
                                "language_instruction": {"text": {}},
                                "is_first": _tensor(dtype="bool"),
                            }
                        }
                    },
                }
            }
        }
    }
}


def write_dataset(folder: Path, shards: list[list[bytes]], name: str = "tiny") -> list[Path]:
    """`folder`/<name>/1.0.0 with one file a shard, one record an entry; answers the files."""
    version = folder / name / "1.0.0"
    version.mkdir(parents=True)
    split = {"name": "train", "shardLengths": [str(len(s)) for s in shards]}
    (version / "dataset_info.json").write_text(json.dumps({"name": name, "version": "1.0.0", "splits": [split]}))
    (version / "features.json").write_text(json.dumps(FEATURES))
    files = []
    for index, records in enumerate(shards):
        files.append(version / f"{name}-train.tfrecord-{index:05d}-of-{len(shards):05d}")
        files[-1].write_bytes(b"".join(frame_record(r) for r in records))
    return files
