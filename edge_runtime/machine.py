"""The machine a run was made on: figures without it mean nothing."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from edge_runtime import exchange
from edge_runtime.realtime import RealtimeReport

_PACKAGES = ("edge-runtime", "numpy", "onnxruntime", "tensorrt", "pyserial", "opencv-python-headless")


def describe(realtime: RealtimeReport) -> dict[str, Any]:
    """CPU, kernel, versions, and the real-time settings obtained and refused."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "kernel": f"{platform.release()} {platform.version()}",
        "python": platform.python_version(),
        "versions": {name: found for name in _PACKAGES if (found := _version(name))},
        "serial cycle": "Python" if isinstance(exchange.load(), str) else "C",
        "realtime": list(realtime.obtained),
        "realtime_refused": list(realtime.refused),
    }


def _cpu() -> str:
    """Its name; on arm64 the kernel gives none there, but the device tree names the board."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    board = Path("/proc/device-tree/model")
    return board.read_text(encoding="utf-8").strip("\0") if board.exists() else platform.machine()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
