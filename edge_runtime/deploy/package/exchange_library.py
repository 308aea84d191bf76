"""The serial cycle in C (exchange.c), compiled for the system that a package is for."""

from __future__ import annotations

import platform
import shutil
import subprocess
from importlib import resources
from pathlib import Path

from edge_runtime.deploy.systems import System
from edge_runtime.errors import EdgeError, one_line

LIBRARY = "_exchange.abi3.so"
FLAGS = ("-std=c11", "-O2", "-fPIC", "-shared", "-s", "-Wl,--build-id=none")
"""As setuptools compiles it, without anything that tells where and when."""
DEBIAN = {"aarch64": "gcc-aarch64-linux-gnu", "x86_64": "gcc-x86-64-linux-gnu"}
"""Debian's packages of the cross compilers."""


def compile_for(system: System, folder: Path) -> str:
    """Compile exchange.c into `folder`. Returns why that was not possible, in one line, else "".

    Raises `EdgeError` where there is a compiler and it refuses.
    """
    compiler, install = _compiler(system)
    if shutil.which(compiler) is None:
        return f"without the serial cycle in C, Python does it less punctually: sudo apt-get install {install}"
    with resources.as_file(resources.files("edge_runtime") / "exchange.c") as source:
        command = (compiler, *FLAGS, "-o", str((folder / LIBRARY).absolute()), source.name)
        done = subprocess.run(command, cwd=source.parent, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EdgeError(f"{compiler}: {source.name}: {one_line(done.stderr)}")
    return ""


def _compiler(system: System) -> tuple[str, str]:
    """The compiler, and the Debian packages that bring it."""
    if system.machine == platform.machine():
        return "cc", "gcc libc6-dev"
    return f"{system.machine}-linux-gnu-gcc", DEBIAN[system.machine]
