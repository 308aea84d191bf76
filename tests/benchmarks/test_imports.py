"""Benchmarks are run by hand and rarely: at least each of them can be imported at any time."""

from __future__ import annotations

import importlib

import pytest

from tests.imports import ROOT

MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "benchmarks").rglob("*.py")
    if path.name not in ("__main__.py", "conftest.py") and not path.name.startswith("test_")
)


@pytest.mark.parametrize("module", MODULES)
def test_a_benchmark_can_be_imported(module: str) -> None:
    importlib.import_module(module)
