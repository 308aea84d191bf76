"""The house as the design draws it: who may import whom, what the robot never loads, what the wheel holds."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.imports import ROOT, imports, modules

PACKAGES = ("calibration", "drivers", "edge_runtime", "export")
OURS = (*PACKAGES, "benchmarks", "tests")
MODULES = {name for package in PACKAGES for name, _ in modules(package)}

SHARED = tuple(
    f"edge_runtime.{name}"
    for name in ("accuracy", "probes", "verify", "layer_table", "targets", "protobuf", "suggest", "tokenizer")
)
MAY_IMPORT = {
    "drivers": ("drivers",),
    "edge_runtime": (
        "edge_runtime",
        "drivers.errors",
        "drivers.masked",
        "drivers.suggest",
        "drivers.motors.base",
        "drivers.cameras.base",
        "drivers.estops.base",
        "drivers.hands.base",
    ),
    "calibration": (
        "calibration",
        "drivers",
        "edge_runtime.errors",
        "edge_runtime.bundle",
        "edge_runtime.bundle_spec",
        "edge_runtime.backends",
        "edge_runtime.recording_spec",
        "edge_runtime.calibration_files",
    ),
    "export": (
        "export",
        "calibration",
        "edge_runtime.errors",
        "edge_runtime.bundle",
        "edge_runtime.bundle_spec",
        "edge_runtime.backends",
        "edge_runtime.policies",
        *SHARED,
    ),
}
"""The table of the design; errors belong to the contracts that raise them.

More rows than there: export verifies a bundle with the very policy that will run it, by the figures and the gate that
the robot holds it to, not with copies of them.
"""

HEAVY = ("torch", "onnx", "onnxscript", "transformers", "torchvision")


def _within(name: str, allowed: tuple[str, ...]) -> bool:
    return any(name == a or name.startswith(f"{a}.") for a in allowed)


def _misfits(package: str) -> list[str]:
    found = []
    for _, path in modules(package):
        for line, name in imports(path, MODULES):
            if (_within(name, OURS) and not _within(name, MAY_IMPORT[package])) or name.startswith("."):
                found.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_the_import_table(package: str) -> None:
    assert _misfits(package) == []


@pytest.mark.parametrize("package", ["drivers", "edge_runtime", "calibration"])
def test_torch_is_imported_only_in_export(package: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for _, path in modules(package)
        for line, name in imports(path, MODULES)
        if name.partition(".")[0] in HEAVY
    ]
    assert found == []


def test_the_table_is_read_from_inside_functions_too(tmp_path: Path) -> None:
    source = tmp_path / "x.py"
    source.write_text("def f():\n    from drivers.motors import feetech\n    import torch.nn\n")
    assert set(imports(source, {"drivers.motors.feetech"})) == {(2, "drivers.motors.feetech"), (3, "torch.nn")}


def _loaded_by(statement: str) -> set[str]:
    """Top-level names of the modules that a fresh interpreter has after `statement`."""
    code = f"import sys; {statement}; print(*{{m.partition('.')[0] for m in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_loop_loads_neither_torch_nor_onnx_nor_a_backend() -> None:
    loaded = _loaded_by("import edge_runtime.loop")
    assert not loaded & {*HEAVY, "onnxruntime", "tensorrt", "cv2", "serial", "pinocchio"}


def test_talking_to_a_robot_loads_next_to_nothing() -> None:
    loaded = _loaded_by("import edge_runtime.cli, edge_runtime.config_check, edge_runtime.control_socket")
    assert not loaded & {*HEAVY, "onnxruntime", "numpy", "cv2", "rich", "tokenizers"}


def test_every_extra_that_is_named_is_there_and_the_readme_names_all() -> None:
    declared = (ROOT / "pyproject.toml").read_text().partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    extras = set(re.findall(r"^(\w+) = \[", declared, re.MULTILINE))
    files = [path for folder in PACKAGES for path in (ROOT / folder).rglob("*.py")]
    files += [*(ROOT / "docs").glob("*.md"), ROOT / "README.md"]
    said = "\n".join(path.read_text(encoding="utf-8") for path in files)
    named = set(re.findall(r"'\.\[(\w+)\]'", said))
    assert named
    assert named <= extras
    assert "edge-runtime[" not in said, "no index has it"
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [extra for extra in extras - {"export", "test", "dev"} if f"`{extra}`" not in readme] == []


def test_the_wheel_holds_the_four_packages_and_nothing_else(tmp_path: Path) -> None:
    source = tmp_path / "source"
    ignore = shutil.ignore_patterns("__pycache__", ".*", "*.egg-info", "build", "runs", "checkpoint")
    for name in (*OURS, "docs"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "Makefile"):
        if (ROOT / name).is_file():
            shutil.copy(ROOT / name, source / name)
    build = f"from setuptools import build_meta; build_meta.build_wheel({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert top == set(PACKAGES)
    assert {"edge_runtime/report.css", "drivers/sim/robot.toml", "drivers/sim/arm.urdf"} <= set(names)
    assert not shutil.which("cc") or "edge_runtime/_exchange.abi3.so" in names
    sources = {str(path.relative_to(ROOT)) for package in PACKAGES for _, path in modules(package)}
    assert sources <= set(names)
    metadata = next(name for name in names if name.endswith("METADATA"))
    needs = [x for x in zipfile.ZipFile(wheel).read(metadata).decode().splitlines() if x.startswith("Requires-Dist")]
    assert [x for x in needs if "extra ==" not in x and x.split()[1].startswith(("torch", "onnx>", "onnx="))] == []
    assert any("onnxruntime" in x for x in needs)
