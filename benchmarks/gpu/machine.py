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
    """The row of `edge_runtime.roofline.DEVICES` that this GPU is; "" where the table has none.

    Orin's driver gives all boards one name: the board's own name and its memory tell them apart. A power mode below
    the highest has a lower floor than the row says.
    """
    board = (host or Host()).read("/proc/device-tree/model") or ""
    name, gib = f"{gpu.name} {board}", gpu.memory_bytes / (1 << 30)
    if "Orin" in name:
        row = {"AGX": "agx-orin-64" if gib > 40 else "agx-orin-32", "NX": "orin-nx-16", "Nano": "orin-nano-8"}
        return next((row[kind] for kind in row if kind in board and row[kind] in DEVICES), "")
    for words, row_name in (("H200", "h200"), ("H100", "h100"), ("RTX 4090", "rtx-4090"), ("Thor", "thor")):
        if (
            words in name
            and row_name in DEVICES
            and not any(other in name for other in ("PCIe", "NVL", "Laptop", "MIG"))
        ):
            return row_name
    return ""


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
