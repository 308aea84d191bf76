"""exchange.c, built for a test."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.imports import ROOT

SOURCE = ROOT / "edge_runtime" / "exchange.c"


def build(folder: Path) -> Path:
    """The library in `folder`, by the compiler that is here; the test is skipped where none is."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler here: what is in C cannot be built")
    warnings = ("-Wall", "-Wextra", "-Wpedantic", "-Werror")
    library = folder / "_exchange.so"
    subprocess.run(
        [compiler, "-std=c11", "-O2", *warnings, "-shared", "-fPIC", "-o", str(library), str(SOURCE)],
        check=True,
    )
    return library
