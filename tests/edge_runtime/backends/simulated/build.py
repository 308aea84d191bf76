"""The simulated driver's library, compiled when it is first needed and kept for the next time."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
KERNELS = (HERE.parents[3] / "edge_runtime/backends/cuda/kernels.cu", HERE / "probe.cu")
SOURCES = (HERE / "libcuda.cpp", HERE / "hooks.cpp")
SONAME = "libcuda.so.1"
FLAGS = ("-std=c++17", "-O1", "-fPIC", "-shared", "-fvisibility=hidden", "-ffp-contract=off", "-Wall", "-Wextra")
_KERNEL = re.compile(r'^extern "C" __global__ void (\w+)\(', re.MULTILINE)


def library() -> Path:
    """Where it is, of these sources. Tests that run side by side may all compile it: the last one's stays."""
    table = _table()
    sources = [path.read_bytes() for path in (*sorted(HERE.glob("*.h")), *SOURCES, *KERNELS)]
    key = hashlib.sha256(b"\0".join([*sources, table.encode(), " ".join(FLAGS).encode()])).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"edge-simulated-driver-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    assert folder.stat().st_uid == os.getuid(), f"{folder} is somebody else's"
    found = folder / f"libcuda-{key}.so"
    if not found.exists():
        _compile(table, found)
    return found


def _table() -> str:
    """C++ that has every kernel, by its name."""
    names = [name for path in KERNELS for name in _KERNEL.findall(path.read_text())]
    rows = "\n".join(f'    {{"{name}", kernel({name})}},' for name in names)
    includes = "\n".join(f'#include "{path}"' for path in (HERE / "grid.h", *KERNELS))
    return f"{includes}\n\nconst std::map<std::string, grid::Kernel> grid::kernels = {{\n{rows}\n}};\n"


def _compile(table: str, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        kernels, made = Path(scratch) / "kernels.cpp", Path(scratch) / "made.so"
        kernels.write_text(table)
        command: list[str | Path] = ["g++", *FLAGS, f"-Wl,-soname,{SONAME}", "-pthread", "-o", made, kernels, *SOURCES]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert not done.returncode, done.stderr
        made.replace(target)
