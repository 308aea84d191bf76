"""Kernels by their names and beside their floors; what a graph has to do at least."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.gpu import work
from benchmarks.gpu.kernels import Kernel, grouped, kind_of, of_trace
from edge_runtime.roofline import DEVICES
from tests.edge_runtime.backends.contract import FLOAT, node, write

H200 = DEVICES["h200"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("nvjet_tst_128x64_64x8_2x1_v_bz_TNN", "gemm"),
        ("sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x64_warpgroupsize1x1x1", "gemm"),
        ("void cutlass::Kernel2<cutlass_80_tensorop_bf16_s16816gemm_bf16_64x64_sliced1x2_ldg8>", "gemm"),
        ("void cublasLt::splitKreduce_kernel<32, 16, int, float, __nv_bfloat16>", "gemm"),
        ("void gemv2T_kernel_val<int, int, __nv_bfloat16>", "gemm"),
        ("void cudnn::ops::nchwToNhwcKernel<float, float, float>", "copy"),
        ("void onnxruntime::cuda::Transpose3DKernel<short>", "copy"),
        ("void onnxruntime::cuda::_UnaryElementWise<__nv_bfloat16, float, OP_Cast>", "copy"),
        ("Memcpy HtoD (Pinned -> Device)", "copy"),
        ("Memset (Device)", "copy"),
        ("void onnxruntime::cuda::cuApplyLayerNorm<float, float, float, false>", "normalisation"),
        ("void at::native::reduce_kernel<512, 1, MeanOps<float>>", "normalisation"),
        ("void (anonymous namespace)::softmax_warp_forward<float, float, float, 9, false>", "attention"),
        ("fmha_cutlassF_bf16_aligned_64x64_rf_sm80", "attention"),
        ("void flash_fwd_kernel<Flash_fwd_kernel_traits<cutlass::bfloat16_t>>", "attention"),
        ("void onnxruntime::cuda::_BinaryElementWiseSimple<true, true, __nv_bfloat16>", "elementwise"),
        ("__myl_MulAddSilu_0x1234", "elementwise"),
        ("choose", "other"),
    ],
)
def test_a_kernel_s_class(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def test_rows_are_by_time_lost_in_one_inference() -> None:
    """A step runs ten times; a class that is at its floor has lost nothing, however long it takes."""
    found = {
        "prefix": [Kernel("a_gemm", 1500.0), Kernel("b_gemm", 500.0), Kernel("Memcpy HtoD", 10.0)],
        "step": [Kernel("a_gemm", 100.0), Kernel("softmax", 30.0), Kernel("strange", 5.0)],
    }
    floors = {"prefix": {"gemm": 1.9}, "step": {"gemm": 0.06, "attention": 0.001}}
    rows = grouped(found, {"prefix": 1, "step": 10}, floors)
    assert [(row.graph, row.kind) for row in rows] == [
        *(("step", "gemm"), ("step", "attention"), ("prefix", "gemm"), ("step", "other"), ("prefix", "copy")),
    ]
    assert (rows[0].ms, rows[0].kernels, rows[0].floor_ms) == (1.0, 10, pytest.approx(0.6))
    assert rows[0].lost_ms == pytest.approx(0.4)
    assert rows[2].longest == {"a_gemm": 1.5, "b_gemm": 0.5}
    unknown = grouped(found, {"prefix": 1, "step": 10}, {})
    assert [row.floor_ms for row in unknown] == [None] * 5
    assert unknown[0].graph == "prefix"


def test_a_trace_has_more_than_kernels() -> None:
    events = [
        {"ph": "X", "cat": "kernel", "name": "gemm", "dur": 12.5, "ts": 1},
        {"ph": "X", "cat": "gpu_memcpy", "name": "Memcpy DtoH", "dur": 1, "ts": 2},
        {"ph": "X", "cat": "cuda_runtime", "name": "cudaGraphLaunch", "dur": 80, "ts": 0},
        {"ph": "M", "name": "process_name"},
    ]
    assert of_trace({"traceEvents": events}) == [Kernel("gemm", 12.5), Kernel("Memcpy DtoH", 1.0)]


def test_what_a_graph_has_to_do(tmp_path: Path) -> None:
    nodes = [
        node("MatMul", "x", "w", out="y"),
        node("Softmax", "y", out="p"),
        node("Add", "p", "p", out="z"),
        node("Transpose", "z", out="t"),
    ]
    sides = {"x": (FLOAT, [64, 256]), "w": (FLOAT, [256, 32])}
    found = work.nodes(write(tmp_path / "g.onnx", nodes, sides, {"t": (FLOAT, [32, 64])}))
    assert [one.kind for one in found] == ["gemm", "attention", "elementwise", "copy"]
    assert found[0] == work.Node("gemm", 4 * (64 * 256 + 256 * 32 + 64 * 32), 2 * 64 * 256 * 32, "fp32")
    assert found[1].bytes == 2 * 4 * 64 * 32
    floors = work.floors(found, H200)
    assert floors["copy"] == pytest.approx(1e3 * 2 * 4 * 64 * 32 / H200.bandwidth)
    large = work.Node("gemm", 10, 10**12, "bf16")
    assert large.floor_ms(H200) == pytest.approx(1e15 / H200.peak["bf16"])
