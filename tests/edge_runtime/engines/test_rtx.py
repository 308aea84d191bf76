"""TensorRT-RTX itself, building ahead of time for SM86 without a GPU: what it takes, what it refuses, in what words."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_runtime.backends.cuda import gpu as cuda_gpu
from edge_runtime.backends.cuda.driver import CudaError
from edge_runtime.engines import compile
from edge_runtime.engines.api import RTX_ARCHS, load_api
from edge_runtime.engines.build import Built, build
from edge_runtime.engines.key import BuildOptions
from edge_runtime.errors import BackendError
from edge_runtime.onnx_nodes import read_nodes
from tests.edge_runtime.engines import onnx_bundle
from tests.edge_runtime.engines.onnx_writer import FLOAT, UINT8, Op, doubling, graph, model

trt: Any = pytest.importorskip("tensorrt_rtx_bindings", reason="tensorrt-rtx is not installed, or not for this machine")

ROWS, COLUMNS, BLOCK = 64, 128, 32


def built(path: Path, options: BuildOptions | None = None, tell: Any = None) -> Built:
    return build(
        load_api("trt_rtx"),
        path,
        read_nodes(path),
        options or BuildOptions(),
        arch="sm86",
        timing=path.with_suffix(".cache"),
        tell=tell or (lambda part: None),
    )


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_the_architectures_are_the_librarys_own() -> None:
    there = {name.lower() for name in trt.ComputeCapability.__members__}
    assert there - {"none", "current"} == set(RTX_ARCHS)


def test_a_bundle(tmp_path: Path) -> None:
    bundle = onnx_bundle.bundle(tmp_path)
    found = compile.compile_bundle(bundle, "trt_rtx", "sm86", BuildOptions(workspace_mib=64, memory_limit_mib=512))
    assert found.place == compile.Place("trt_rtx", trt.__version__, "sm86")
    assert all(e.built and e.path.stat().st_size == e.info.size > 1000 for e in found.engines.values())
    assert not any("timing" in path.name for path in (bundle / "engines").iterdir())
    assert found.answers is None
    assert not found.held
    said = compile.text(found)
    assert "ahead of time" in said
    assert "anything about Orin (SM87)" in said
    assert "not inspected" in said
    again = compile.compile_bundle(bundle, "trt_rtx", "sm86", BuildOptions(workspace_mib=64, memory_limit_mib=512))
    assert not any(e.built for e in again.engines.values())
    assert all("its" in e.rebuilt for e in compile.compile_bundle(bundle, "trt_rtx", "sm86").engines.values())


@pytest.mark.parametrize("arch", ["sm87", "sm90", "rtx4090"])
def test_an_architecture_that_it_does_not_build_for(tmp_path: Path, arch: str) -> None:
    with pytest.raises(BackendError, match=f"--for {arch}: TensorRT-RTX builds for sm75, .*sm121") as caught:
        compile.compile_bundle(tmp_path, "trt_rtx", arch)
    assert ("--backend trt" in str(caught.value)) == (arch == "sm87")


def test_what_is_not_proven_is_said_of_the_gpu_that_it_was_built_for(tmp_path: Path) -> None:
    bundle = onnx_bundle.bundle(tmp_path)
    for arch, said in (("sm86", True), ("sm89", False)):
        found = compile.compile_bundle(bundle, "trt_rtx", arch)
        assert (set(compile.STANDS_IN) <= set(found.unproven)) == said
        assert ("support matrix" in compile.text(found)) == said
        assert ("Orin" in compile.text(found)) == said


def test_sm86_stands_in_for_orin_and_nothing_else_does(tmp_path: Path) -> None:
    bundle, other = (
        onnx_bundle.quantized_for(onnx_bundle.bundle(tmp_path / target), target)
        for target in ("jetpack6-orin", "x86-rtx")
    )
    with pytest.raises(
        BackendError, match=r"made for Jetson Orin, JetPack 6 \(sm87\), not for sm89; quantize the orig"
    ):
        compile.compile_bundle(bundle, "trt_rtx", "sm89")
    assert all(e.built for e in compile.compile_bundle(bundle, "trt_rtx", "sm86").engines.values())
    with pytest.raises(BackendError, match=r"\(sm89, sm120, sm121\), not for sm86; "):
        compile.compile_bundle(other, "trt_rtx", "sm86")


@pytest.mark.parametrize(
    "why", [CudaError("cuInit", 100, "CUDA_ERROR_NO_DEVICE"), RuntimeError("Ensure that the driver is installed.")]
)
def test_without_a_gpu_one_may_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: Exception) -> None:
    def absent() -> None:
        raise why

    monkeypatch.setattr(cuda_gpu, "Gpu", absent)
    cuda_gpu.gpu.cache_clear()
    with pytest.raises(BackendError, match=r"^no GPU can be reached from here: .*[^.]; or name a GPU: --for sm86$"):
        compile.compile_bundle(tmp_path, "trt_rtx")


def refused(path: Path) -> str:
    with pytest.raises(BackendError) as caught:
        built(path)
    said = str(caught.value)
    assert said.startswith(f"{path}: ")
    assert "\n" not in said
    assert "/_src/" not in said
    return said.removeprefix(f"{path}: TensorRT-RTX {trt.__version__} ")


@pytest.mark.parametrize(
    ("op", "kind", "words"),
    [
        (Op("Levitate", ("x",), "y"), FLOAT, "has no operator Levitate; export the bundle again"),
        (Op("Bernoulli", ("x",), "y", "node_b"), FLOAT, "has no operator Bernoulli (node_b); export"),
        (Op("Reshape", ("x", "n"), "y", "node_view"), UINT8, "refuses operator Reshape (node_view): "),
    ],
)
def test_an_operator_or_a_type_that_it_has_not(tmp_path: Path, op: Op, kind: int, words: str) -> None:
    body = graph([op], {"x": (kind, (4,))}, {"y": (kind, (4,))}, {"n": 4})
    said = refused(written(tmp_path / "g.onnx", model(body)))
    assert said.startswith(words)
    assert "driver" not in said


def test_a_shape_that_is_not_static(tmp_path: Path) -> None:
    body = graph([Op("Relu", ("x",), "y")], {"x": (FLOAT, (2**64 - 1, 3))}, {"y": (FLOAT, (2**64 - 1, 3))})
    with pytest.raises(BackendError, match=r"g.onnx: x has shape \[-1, 3\]; shapes must be static"):
        built(written(tmp_path / "g.onnx", model(body)))


def test_bytes_are_an_input_where_a_cast_comes_first(tmp_path: Path) -> None:
    ops = [Op("Cast", ("x",), "f", numbers={"to": FLOAT}), Op("Relu", ("f",), "y")]
    path = written(tmp_path / "g.onnx", model(graph(ops, {"x": (UINT8, (4, 4))}, {"y": (FLOAT, (4, 4))})))
    assert built(path).engine.nbytes > 1000


def test_ctrl_c_cancels_it(tmp_path: Path) -> None:
    told: list[float] = []

    def tell(part: float) -> None:
        told.append(part)
        if len(told) == 3:
            os.kill(os.getpid(), signal.SIGINT)

    path = written(tmp_path / "g.onnx", doubling(20))
    with pytest.raises(KeyboardInterrupt):
        built(path, tell=tell)
    assert len(told) == 3
    whole: list[float] = []
    built(path, tell=whole.append)
    assert whole == sorted(whole)
    assert whole[-1] > 0.5


def quantized(kind: str, onnx: Any, zero: int = 0) -> Any:
    """x [8, rows] times weights [rows, columns]: `kind` of W8A8 ("int8"), weights in blocks of 4 bits, or floats."""
    helper, element = onnx.helper, onnx.TensorProto
    names = {"fp32": element.FLOAT, "bf16": element.BFLOAT16, "fp16": element.FLOAT16}
    kind, _, floats = kind.partition(" ")
    real = names.get(floats or kind, element.FLOAT)
    numbers = np.random.default_rng(0).integers(-7, 8, ROWS * COLUMNS).tolist()

    def tensor(name: str, of: int, shape: tuple[int, ...], values: Any) -> Any:
        return helper.make_tensor(
            name, of, shape, values if isinstance(values, list) else [values] * max(1, int(np.prod(shape)))
        )

    nodes, weights, x = [], [], "x"
    if kind == "int8":
        weights = [
            *(tensor("s", real, (), 0.02), tensor("z", element.INT8, (), zero)),
            tensor("w", element.INT8, (ROWS, COLUMNS), numbers),
            *(tensor("ws", real, (COLUMNS,), 0.01), tensor("wz", element.INT8, (COLUMNS,), 0)),
        ]
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], "q"),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], "dq"),
            helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["v"], "dw", axis=1),
        ]
        x = "d"
    elif kind == "int4":
        shape = (ROWS // BLOCK, COLUMNS)
        weights = [tensor("w", element.INT4, (ROWS, COLUMNS), numbers), tensor("ws", real, shape, 0.05)]
        nodes = [helper.make_node("DequantizeLinear", ["w", "ws"], ["v"], "dw", axis=0, block_size=BLOCK)]
    else:
        weights = [tensor("v", real, (ROWS, COLUMNS), [float(n) for n in numbers])]
    nodes.append(helper.make_node("MatMul", [x, "v"], ["y"], "product"))
    sides = [helper.make_tensor_value_info(n, real, [8, size]) for n, size in (("x", ROWS), ("y", COLUMNS))]
    made = helper.make_graph(nodes, "g", sides[:1], sides[1:], weights)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@pytest.mark.parametrize(
    "kind", ["fp32", "bf16", "fp16", "int8", "int8 bf16", "int8 fp16", "int4", "int4 bf16", "int4 fp16"]
)
def test_every_precision_of_orin_builds(tmp_path: Path, kind: str) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    path = written(tmp_path / "g.onnx", quantized(kind, onnx).SerializeToString())
    assert built(path).engine.nbytes > 1000


def test_weights_of_4_bits_stay_so(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    sizes = [
        built(written(tmp_path / "g.onnx", quantized(kind, onnx).SerializeToString())).engine.nbytes
        for kind in ("int4", "fp32")
    ]
    assert sizes[0] < sizes[1] - 3 * ROWS * COLUMNS


def test_a_zero_point_is_zero(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    path = written(tmp_path / "g.onnx", quantized("int8", onnx, zero=3).SerializeToString())
    assert "Non-zero zero point is not supported" in refused(path)
