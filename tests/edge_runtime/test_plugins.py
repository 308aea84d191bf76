"""Plug-ins are files: found by name, imported on use, one line where that fails."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_runtime import plugins
from edge_runtime.errors import EdgeError


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package of plug-ins: one that works, one whose library is missing, one with a fault of its own."""
    folder = tmp_path / "toolbox_of_plugins"
    (folder / "data").mkdir(parents=True)
    for name, text in {
        "__init__": "",
        "base": "",
        "_private": "",
        "data/__init__": "",
        "hammer": "WEIGHT_KG = 2",
        "laser": "import torch_of_the_future.nn",
        "broken": "import toolbox_of_plugins.nowhere",
        "loose": "from toolbox_of_plugins.hammer import HANDLE",
        "old": "raise ImportError('libsaw.so.2: cannot open\\nshared object file', name='saw')",
    }.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "toolbox_of_plugins"
    for name in [m for m in sys.modules if m.startswith("toolbox_of_plugins")]:
        del sys.modules[name]


def test_names_are_the_files_that_are_no_contract(package: str) -> None:
    assert plugins.names(package) == ("broken", "hammer", "laser", "loose", "old")


def test_loading_one_imports_only_that_one(package: str) -> None:
    assert plugins.load(package, "hammer").WEIGHT_KG == 2
    assert f"{package}.laser" not in sys.modules


def test_an_unknown_name_names_the_nearest(package: str) -> None:
    with pytest.raises(EdgeError, match=r'^toolbox_of_plugins: there is no "hamer", did you mean "hammer"\?$'):
        plugins.load(package, "hamer")


@pytest.mark.parametrize("name", ["base", "_private", "data", "__init__", "", ".", "hammer.x", "../hammer"])
def test_what_is_no_plugin_is_not_loaded(package: str, name: str) -> None:
    with pytest.raises(EdgeError, match="there is no"):
        plugins.load(package, name)


def test_a_package_that_was_left_off_the_robot_says_where_to_go() -> None:
    with pytest.raises(EdgeError) as caught:
        plugins.require("toolbox_of_elsewhere.saw")
    assert str(caught.value) == "toolbox_of_elsewhere is not on this robot: run this on the computer that exports"


def test_a_missing_library_says_what_to_install(package: str) -> None:
    with pytest.raises(EdgeError) as caught:
        plugins.load(package, "laser")
    assert str(caught.value) == (
        'toolbox_of_plugins.laser needs "torch_of_the_future", which is not installed: pip install torch_of_the_future'
    )


def test_a_fault_of_our_own_is_not_hidden(package: str) -> None:
    for name in ("broken", "loose"):
        with pytest.raises(ImportError):
            plugins.load(package, name)


def test_a_library_that_is_broken_is_one_line(package: str) -> None:
    with pytest.raises(EdgeError) as caught:
        plugins.load(package, "old")
    assert str(caught.value) == "toolbox_of_plugins.old cannot be imported: libsaw.so.2: cannot open shared object file"


@pytest.mark.parametrize(
    ("package", "name"),
    [("drivers.motors", "feetech"), ("drivers.cameras", "sim"), ("edge_runtime.backends", "ort")],
)
def test_our_own_are_found(package: str, name: str) -> None:
    assert name in plugins.names(package)


def test_a_dash_is_as_good_as_what_a_file_name_has() -> None:
    assert plugins.load("edge_runtime.backends", "trt-rtx") is plugins.load("edge_runtime.backends", "trt_rtx")
    with pytest.raises(EdgeError, match=r'there is no "trt-rtz", did you mean "trt-rtx"\?$'):
        plugins.load("edge_runtime.backends", "trt-rtz")
    for wrong in ("trt_rtz", "xx"):
        with pytest.raises(EdgeError, match=r"trt-rtx") as caught:
            plugins.load("edge_runtime.backends", wrong)
        assert "trt_rtx" not in str(caught.value)
        assert ("ort, ort-cuda, trt, trt-rtx" in str(caught.value)) == (wrong == "xx")
