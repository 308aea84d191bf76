"""pycuda, without which TensorRT cannot be reached: there is no wheel of it for JetPack, so it is built there, once.

Not run on hardware here: what it does without a JetPack machine is tested, the build itself is not.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from pathlib import Path

from edge_runtime.deploy.package.wheels import LOCKS, pip
from edge_runtime.deploy.systems import System

LOCK = LOCKS / "pycuda.txt"
CUDA = Path("/usr/local/cuda/bin")
"""Where JetPack has nvcc."""


def found(system: System, folder: Path) -> Path | None:
    """The wheel of pycuda in `folder` that was built on `system`."""
    tag = f"cp{system.python.replace('.', '')}"
    wheels = sorted(folder.glob(f"pycuda-*-{tag}-{tag}-linux_{system.machine}.whl"))
    return wheels[-1] if wheels else None


def can_build(system: System) -> bool:
    """Whether this is a machine with that system's Python and with nvcc."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    here = system.jetpack and (platform.machine(), python) == (system.machine, system.python)
    return here and shutil.which("nvcc", path=_path()) is not None


def build(folder: Path) -> None:
    """Build the wheel into `folder`; `EdgeError` where pip or the compiler cannot."""
    os.environ["PATH"] = _path()
    pip(
        "wheel", "--no-deps", "--no-binary=pycuda", "--require-hashes", f"--requirement={LOCK}", f"--wheel-dir={folder}"
    )


def remedy(system: System) -> str:
    """Where to get it, in one line."""
    return f"on a machine with {system.title}: edge package wheels --target {system.name}, and keep its pycuda-*.whl"


def _path() -> str:
    return f"{os.environ.get('PATH', os.defpath)}{os.pathsep}{CUDA}"
