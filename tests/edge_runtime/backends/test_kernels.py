"""The kernels as they are shipped: PTX of this source, which the driver of JetPack 6 takes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
CUDA = ROOT / "edge_runtime" / "backends" / "cuda"
PTX, SOURCE = ((CUDA / name).read_text(encoding="utf-8") for name in ("kernels.ptx", "kernels.cu"))


def test_the_file_in_the_package_is_made_of_its_source(tmp_path: Path) -> None:
    """By the very compiler that made it; another one writes the same in other words."""
    pytest.importorskip("cuda.bindings", reason="cuda-bindings is not installed")
    made = tmp_path / "made.ptx"  # by a process of its own: NVRTC sets the locale of its process to C
    done = subprocess.run([sys.executable, ROOT / ".ci" / "ptx", made], capture_output=True, text=True, check=False)
    if "DynamicLibNotFoundError" in done.stderr:
        pytest.skip("NVRTC is not installed: pip install nvidia-cuda-nvrtc-cu12==12.4.127")
    assert not done.returncode, done.stderr
    text = made.read_text(encoding="utf-8")
    if release(text) != release(PTX):
        pytest.skip(f"this NVRTC is {release(text)}, and kernels.ptx was made by {release(PTX)}: see .ci/ptx")
    assert text == PTX, "write it anew: .ci/ptx"


def release(text: str) -> str:
    return "".join(re.findall(r"release [\d.]+, V[\d.]+", text))


def test_it_asks_no_newer_driver_or_gpu_than_jetpack_6_has() -> None:
    ((major, minor),) = re.findall(r"^\.version (\d+)\.(\d+)$", PTX, re.MULTILINE)
    assert (int(major), int(minor)) <= (8, 5), "CUDA 12.6"
    assert re.findall(r"^\.target (\w+)$", PTX, re.MULTILINE) == ["sm_75"]


def test_no_sum_is_fused_with_a_product() -> None:
    assert "fma" not in PTX
    kernels = re.findall(r"\.entry (\w+)\(", PTX)
    assert sorted(kernels) == sorted(re.findall(r"__global__ void (\w+)\(", SOURCE))
