"""ONNX Runtime under the backend contract."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from edge_runtime import cli
from edge_runtime.backends.ort import Engine
from edge_runtime.errors import BackendError
from tests.edge_runtime.backends.contract import FLOAT, INT64, BackendContract, node, write
from tests.edge_runtime.backends.program_contract import ProgramContract
from tests.edge_runtime.engines import onnx_bundle
from tests.edge_runtime.memory import growth


class TestOrt(BackendContract, ProgramContract):
    engine = Engine

    def test_a_type_that_no_buffer_has(self, tmp_path: Path) -> None:
        path = write(tmp_path / "d.onnx", [node("Neg", "x", out="y")], {"x": (11, [3])}, {"y": (11, [3])})
        self.refused(path, r"x is of type tensor\(double\), which is not supported")

    def test_a_run_that_fails_is_one_line_too(self, tmp_path: Path) -> None:
        sides = {"x": (FLOAT, [3]), "i": (INT64, [1])}
        graph = Engine().load(
            write(tmp_path / "g.onnx", [node("Gather", "x", "i", out="y")], sides, {"y": (FLOAT, [1])})
        )
        graph.inputs["i"][:] = 99
        with pytest.raises(BackendError, match=r"g\.onnx: failed while it ran: .*out of") as caught:
            graph.run()
        assert "\n" not in str(caught.value)

    def test_running_allocates_nothing_that_stays(self, double: Path) -> None:
        graph = Engine().load(double)
        assert growth(graph.run) < 500

    def test_without_the_library_it_says_what_to_install(self, double: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        monkeypatch.setattr(metadata, "distributions", lambda *, name: [])
        with pytest.raises(BackendError, match=r"^backend ort: .*; pip install onnxruntime$"):
            Engine().load(double)

    @pytest.mark.parametrize("there", ["onnxruntime", "onnxruntime-gpu"])
    def test_an_empty_folder_is_one_line(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], there: str
    ) -> None:
        """Where the other of two distributions that share it was removed; pip takes what it has a note of for whole."""
        bundle = onnx_bundle.bundle(tmp_path)
        assert cli.main(["verify", str(bundle), "--backend", "ort"]) == 0  # and all else that it needs is imported
        capsys.readouterr()
        (tmp_path / "site" / "onnxruntime").mkdir(parents=True)
        monkeypatch.setattr(sys, "path", [str(tmp_path / "site")])
        for name in [name for name in sys.modules if name.partition(".")[0] == "onnxruntime"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setattr(metadata, "distributions", lambda *, name: [name] if name == there else [])
        assert cli.main(["verify", str(bundle), "--backend", "ort"]) == 2
        out, err = capsys.readouterr()
        assert (out, err) == (
            "",
            f"edge: backend ort: {tmp_path}/site/onnxruntime is all that is left of onnxruntime; pip install "
            f"--force-reinstall --no-deps {there}\n",
        )

    def test_it_leaves_nothing_at_home_that_knows_this_machine(self, double: Path, tmp_path: Path) -> None:
        """By a process of its own, where the library is new, and where nothing says that it is a test's."""
        home = tmp_path / "home"
        home.mkdir()
        program = (
            "import pathlib, sys; from edge_runtime.backends import ort; ort.Engine().load(pathlib.Path(sys.argv[1]))"
        )
        silent = ("ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "CI", "XDG_CACHE_HOME")
        told = {name: value for name, value in os.environ.items() if name not in silent}
        subprocess.run([sys.executable, "-c", program, str(double)], check=True, env={**told, "HOME": str(home)})
        assert list(home.iterdir()) == []
