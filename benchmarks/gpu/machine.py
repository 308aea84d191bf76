"""What a figure was measured on: GPU, driver, power mode, clocks, versions, processor."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from benchmarks.gpu.found import Found
from edge_runtime.doctor import power
from edge_runtime.doctor.host import Host
from edge_runtime.engines.key import l4t_release
from edge_runtime.roofline import DEVICES

PACKAGES = (
    *("torch", "triton", "onnxruntime", "onnxruntime-gpu", "tensorrt", "tensorrt_rtx_cu13_bindings"),
    *("cuda-bindings", "numpy", "onnx", "onnxscript", "edge-runtime"),
)
_ASKED = (
    *("driver_version", "pstate", "persistence_mode", "mig.mode.current", "temperature.gpu", "power.draw"),
    *("power.limit", "clocks.sm", "clocks.mem", "clocks.max.sm", "clocks.max.mem"),
)
"""Properties of `nvidia-smi --query-gpu`; what a GPU does not have reads "[N/A]"."""

_CARDS = {"NVIDIA H200": "h200", "NVIDIA H100 80GB HBM3": "h100", "NVIDIA GeForce RTX 4090": "rtx-4090"}
"""The names that CUDA gives to them."""
_BOARDS = (
    ("AGX Orin", 40, ("MAXN",), "agx-orin-64"),
    ("AGX Orin", 20, ("MAXN",), "agx-orin-32"),
    ("Orin NX", 10, ("MAXN",), "orin-nx-16"),
    ("Orin Nano", 5, ("15W",), "orin-nano-8"),
    ("AGX Thor", 100, ("MAXN",), "thor"),
)
"""Words of the board's name, more GiB than which it has, the power modes with the clocks of the row, and the row.

Smaller boards of the same name (Orin NX 8 GB, Orin Nano 4 GB, Thor T4000) are in no row. Modes: "Jetson Developer
Guide", Platform Power and Performance, Supported Modes and Power Efficiency.
"""
_SUPER = {row: f"{row}-super" for row in DEVICES if f"{row}-super" in DEVICES}


def describe(gpu: Found, host: Host | None = None) -> dict[str, Any]:
    """Everything that can be read here, without root; what cannot is left out."""
    host = host or Host()
    return {
        "gpu": asdict(gpu),
        "device": device_row(gpu, host),
        "board": host.read("/proc/device-tree/model") or "",
        "l4t": l4t_release(host.path("/etc/nv_tegra_release")),
        "nvidia_smi": nvidia_smi(host),
        **_jetson(host),
        "cpu": _cpu(host),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
    }


def nvidia_smi(host: Host) -> dict[str, str]:
    """What nvidia-smi says of GPU 0; nothing on a Jetson whose nvidia-smi knows none of it."""
    told = host.run("nvidia-smi", "-i", "0", f"--query-gpu={','.join(_ASKED)}", "--format=csv,noheader") or ""
    values = [value.strip() for value in told.strip().split(",")]
    if len(values) != len(_ASKED):
        return {}
    return {name: value for name, value in zip(_ASKED, values, strict=True) if value and not value.startswith("[")}


def device_row(gpu: Found, host: Host | None = None) -> str:
    """The row of `edge_runtime.roofline.DEVICES` that this GPU is, in the power mode that it is in; "" where none is.

    Names are exact: H100 PCIe, GH200, RTX 4090 D, a laptop's GPU or a slice of one are other devices. Orin's driver
    gives all boards one name: the board's own name, its memory and nvpmodel tell them apart. In a lower power mode the
    clocks are lower and the true floor is higher than the row's, which is then no measure.
    """
    host = host or Host()
    if gpu.name in _CARDS:
        return _CARDS[gpu.name]
    board, mode = host.read("/proc/device-tree/model") or "", _power_mode(host)
    for words, least_gib, modes, row in _BOARDS:
        if words in board and gpu.memory_bytes > least_gib * (1 << 30):
            return row if mode in modes else _SUPER.get(row, "") if mode == "MAXN_SUPER" else ""
    return ""


def _power_mode(host: Host) -> str:
    """nvpmodel's name of it, "MAXN"; "" where it does not say."""
    found = power.power_mode(host)
    return "" if found.level == "unknown" else found.found.partition(",")[0]


def _jetson(host: Host) -> dict[str, str]:
    """Power mode, clocks and temperature of a Jetson, in the words of `edge doctor`."""
    if not host.jetson:
        return {}
    return {check.name: check.found for check in (power.power_mode(host), power.clocks(host), power.temperature(host))}


def _cpu(host: Host) -> str:
    for line in (host.read("/proc/cpuinfo") or "").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
