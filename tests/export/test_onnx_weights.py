"""Weights of an ONNX file: every type bit by bit, and nothing is read from where a bundle has no business."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edge_runtime.errors import BackendError
from export.onnx_weights import DTYPES, onnx_weight

NAMES = {kind: TensorProto.DataType.Name(kind) for kind in DTYPES}
VALUES = np.array([0, 1, 0, 1, 1, 0, 1], np.float64)


def tensor(kind: int, raw: bool) -> TensorProto:
    """Seven values, odd for four bits."""
    values = VALUES if kind == TensorProto.BOOL else np.array([0, 1, -3, 7, -8, 2, 5])
    values = np.abs(values) if kind == TensorProto.UINT8 else values
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    if raw and kind == TensorProto.INT4:
        nibbles = [int(x) & 15 for x in (*values, 0)]
        packed = bytes(low | high << 4 for low, high in zip(nibbles[::2], nibbles[1::2], strict=True))
        return helper.make_tensor("w", kind, [7], packed, raw=True)
    if raw:
        return helper.make_tensor("w", kind, [7], values.astype(dtype).tobytes(), raw=True)
    return helper.make_tensor("w", kind, [7], values.tolist())


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("kind", DTYPES, ids=NAMES.values())
def test_each_type(kind: int, raw: bool) -> None:
    weight = onnx_weight(Path("x.onnx"), tensor(kind, raw))
    found = weight.read()
    assert found.dtype == DTYPES[kind]
    assert weight.inside
    assert weight.nbytes == found.numel() * found.itemsize
    assert found.double().tolist() == numpy_helper.to_array(tensor(kind, raw)).astype(np.float64).tolist()


def test_every_bit_of_a_half_and_of_eight_bits() -> None:
    for kind, dtype, count in (
        (TensorProto.BFLOAT16, ml_dtypes.bfloat16, 1 << 16),
        (TensorProto.FLOAT16, np.float16, 1 << 16),
        (TensorProto.FLOAT8E4M3FN, ml_dtypes.float8_e4m3fn, 1 << 8),
    ):
        bits = np.arange(count, dtype=np.uint16 if count > 256 else np.uint8)
        found = onnx_weight(Path("x.onnx"), helper.make_tensor("w", kind, [count], bits.tobytes(), raw=True)).read()
        np.testing.assert_array_equal(found.float().numpy(), bits.view(dtype).astype(np.float32))


def beside(folder: Path, data: bytes, **told: Any) -> TensorProto:
    """float32 [2, 3] in a file `w.data` of `data`."""
    (folder / "w.data").write_bytes(data)
    made = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2, 3], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": "w.data", **told}.items():
        made.external_data.add(key=key, value=str(value))
    return made


SIX = np.arange(6, dtype=np.float32)


def test_a_weight_beside_the_graph_is_read_anew_each_time(tmp_path: Path) -> None:
    weight = onnx_weight(tmp_path / "x.onnx", beside(tmp_path, b"1234" + SIX.tobytes() + b"5", offset=4, length=24))
    first = weight.read()
    assert (weight.nbytes, weight.inside) == (24, False)
    assert first.tolist() == SIX.reshape(2, 3).tolist()
    assert weight.read().data_ptr() != first.data_ptr()
    (tmp_path / "w.data").write_bytes(b"1234" + (SIX + 1).tobytes())
    assert weight.read().tolist() == (SIX + 1).reshape(2, 3).tolist()
    assert first.tolist() == SIX.reshape(2, 3).tolist(), "it is a copy, not a view of the file"


def test_four_bits_beside_the_graph(tmp_path: Path) -> None:
    (tmp_path / "w.data").write_bytes(bytes([0x21, 0x8F, 0x07]))
    made = TensorProto(name="w", data_type=TensorProto.INT4, dims=[5, 1], data_location=TensorProto.EXTERNAL)
    made.external_data.add(key="location", value="w.data")
    weight = onnx_weight(tmp_path / "x.onnx", made)
    assert weight.read().tolist() == [[1], [2], [-1], [-8], [7]]
    assert weight.nbytes == 5


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"location": "../w.data"}, "outside of the bundle's folder"),
        ({"location": "/etc/hostname"}, "outside of the bundle's folder"),
        ({"location": "below/../w.data"}, "outside of the bundle's folder"),
        ({"location": "link"}, "outside of the bundle's folder"),
        ({"location": ""}, "which is not there"),
        ({"location": "below"}, "which is not there"),
        ({"location": "other.data"}, "which is not there"),
        ({"location": "a\0b"}, "cannot be found"),
        ({"location": "x" * 5000}, "cannot be found"),
        ({"offset": -4}, "is at bytes -4 to 20 of w.data, which has 24"),
        ({"offset": 1}, "is at bytes 1 to 25 of w.data, which has 24"),
        ({"offset": 2**70}, "which has 24"),
        ({"offset": "four"}, "cannot be found"),
        ({"offset": "9" * 5000}, "cannot be found"),
        ({"length": 20}, "has 20 bytes, expected 24"),
        ({"length": -1}, "has -1 bytes, expected 24"),
    ],
)
def test_what_is_not_in_the_bundle(tmp_path: Path, told: dict[str, Any], words: str) -> None:
    folder = tmp_path / "bundle"
    (folder / "below").mkdir(parents=True)
    (tmp_path / "w.data").write_bytes(SIX.tobytes())
    (folder / "link").symlink_to(tmp_path / "w.data")
    with pytest.raises(BackendError, match=words) as caught:
        onnx_weight(folder / "x.onnx", beside(folder, SIX.tobytes(), **told))
    assert str(caught.value).startswith(f"{folder / 'x.onnx'}: weight w ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (helper.make_tensor("w", TensorProto.DOUBLE, [1], [1.0]), "w is DOUBLE, which is not supported"),
        (TensorProto(name="w", data_type=99, dims=[1]), "w is type 99, which is not supported"),
        (TensorProto(name="w", data_type=1, dims=[2], raw_data=b"12345"), "has 5 bytes, expected 8"),
        (TensorProto(name="w", data_type=1, dims=[2], float_data=[1.0]), "has 4 bytes, expected 8"),
        (TensorProto(name="w", data_type=1, dims=[2**40, 2**40]), "has 0 bytes, expected"),
        (TensorProto(name="w", data_type=1, dims=[-2, -2], raw_data=bytes(16)), r"has shape \[-2, -2\]"),
    ],
)
def test_what_is_not_a_weight(made: TensorProto, words: str) -> None:
    with pytest.raises(BackendError, match=words):
        onnx_weight(Path("x.onnx"), made)


def test_a_file_that_shrinks_or_goes_while_it_is_in_use(tmp_path: Path) -> None:
    weight = onnx_weight(tmp_path / "x.onnx", beside(tmp_path, SIX.tobytes()))
    (tmp_path / "w.data").write_bytes(b"123")
    with pytest.raises(BackendError, match=r"w\.data: ends before byte 24"):
        weight.read()
    (tmp_path / "w.data").unlink()
    with pytest.raises(BackendError, match=r"w\.data: cannot be read"):
        weight.read()


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(["location", "offset", "length", "x"]), st.text(max_size=9)))
def test_whatever_is_told_it_is_a_weight_or_one_line(tmp_path: Path, told: dict[str, str]) -> None:
    made = beside(tmp_path, SIX.tobytes())
    made.external_data.clear()
    for key, value in told.items():
        made.external_data.add(key=key, value=value)
    try:
        found = onnx_weight(tmp_path / "x.onnx", made).read().tolist()
    except BackendError as error:
        found = str(error).splitlines()[1:]
    assert found in ([], SIX.reshape(2, 3).tolist())


def test_the_files_of_onnx_itself(tmp_path: Path) -> None:
    """What onnx writes beside a graph is what is read."""
    values = np.random.default_rng(0).standard_normal((64, 33)).astype(np.float32)
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [64, 33]) for name in ("x", "y")]
    node = helper.make_node("Add", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "g", value[:1], value[1:], [numpy_helper.from_array(values, "w")])
    onnx.save(helper.make_model(graph), tmp_path / "x.onnx", save_as_external_data=True, location="x.onnx.data")
    (stored,) = onnx.load(tmp_path / "x.onnx", load_external_data=False).graph.initializer
    np.testing.assert_array_equal(onnx_weight(tmp_path / "x.onnx", stored).read().numpy(), values)
