"""Backends and programs under their contracts on a real GPU: what `make gpu-check` runs where there is one.

Only then: in a process that has loaded the real driver there can be no simulated one.
"""

from __future__ import annotations

import os

import pytest

from benchmarks.gpu.at_once import Building, BuildingRtx, at_once, tried
from edge_runtime.backends.base import Backend
from edge_runtime.errors import EdgeError
from tests.edge_runtime.backends.contract import BackendContract
from tests.edge_runtime.backends.program_contract import ProgramContract

if "GPU_CHECK" not in os.environ:
    pytest.skip("on a real GPU, by make gpu-check", allow_module_level=True)


def ort_cuda(threads: int) -> Backend:
    return at_once("ort_cuda")(threads)


class OnGpu(BackendContract, ProgramContract):
    """`backend`: its name in `benchmarks.gpu.at_once`; skipped where it cannot run one small graph."""

    backend_name: str

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _it_runs_here(cls, tmp_path_factory: pytest.TempPathFactory) -> None:
        try:
            tried(cls.backend_name, tmp_path_factory.mktemp("tried"))
        except EdgeError as error:
            pytest.skip(f"{cls.backend_name} does not run here: {error}")


class TestTrt(OnGpu):
    backend_name, engine = "trt", Building


class TestTrtRtx(OnGpu):
    backend_name, engine = "trt_rtx", BuildingRtx


class TestOrtCuda(OnGpu):
    backend_name, engine = "ort_cuda", staticmethod(ort_cuda)
