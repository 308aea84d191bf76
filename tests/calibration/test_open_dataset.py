"""A dataset is known by its files, whatever libraries are there; what is missing is said in one line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from calibration.datasets.base import DatasetError
from calibration.datasets.lerobot import Reader as LeRobot
from calibration.datasets.rlds import Reader as Rlds
from calibration.open_dataset import formats, open_dataset
from tests.calibration import rlds_writer


def write_rlds(folder: Path) -> Path:
    rlds_writer.write_dataset(folder, [[rlds_writer.example(rlds_writer.episode())]])
    return folder


def describe_lerobot(folder: Path) -> Path:
    """A description as LeRobot has it, and nothing that it describes."""
    (folder / "meta").mkdir(parents=True)
    vector = {"dtype": "float32", "shape": [2], "names": None}
    facts = {
        "codebase_version": "v2.1",
        "fps": 10,
        "total_episodes": 1,
        "data_path": "data/{episode_index}.parquet",
        "features": {"observation.state": vector, "action": vector},
    }
    (folder / "meta" / "info.json").write_text(json.dumps(facts))
    (folder / "meta" / "episodes.jsonl").write_text('{"episode_index": 0, "length": 3}\n')
    (folder / "meta" / "tasks.jsonl").write_text('{"task_index": 0, "task": "go"}\n')
    return folder


@pytest.fixture
def without_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where neither pyarrow nor av is installed."""
    for name in [name for name in sys.modules if name.startswith("calibration.lerobot")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "av", None)


def refused(path: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        open_dataset(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_formats_are_the_files() -> None:
    assert {"lerobot", "recording", "rlds"} <= set(formats())
    assert "base" not in formats()


def test_each_finds_its_own(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="LeRobot's tables need pyarrow")
    assert isinstance(open_dataset(write_rlds(tmp_path / "a")), Rlds)
    assert isinstance(open_dataset(str(describe_lerobot(tmp_path / "b"))), LeRobot)


def test_what_is_no_dataset(tmp_path: Path) -> None:
    assert refused(tmp_path / "nowhere") == f"{tmp_path}/nowhere: no such folder"
    says = f"{tmp_path}: is of no known format; name the folder of a dataset, known: {', '.join(formats())}"
    assert refused(tmp_path) == says
    (tmp_path / "file").touch()
    assert "is of no known format" in refused(tmp_path / "file")


def test_what_is_two(tmp_path: Path) -> None:
    assert "is of several formats (lerobot, rlds)" in refused(write_rlds(describe_lerobot(tmp_path / "a")))


@pytest.mark.usefixtures("without_libraries")
def test_a_library_is_asked_for_only_where_it_is_needed(tmp_path: Path) -> None:
    assert len(open_dataset(write_rlds(tmp_path / "a"))) == 1
    assert refused(describe_lerobot(tmp_path / "b")) == (
        f'{tmp_path}/b: lerobot data need "pyarrow", which is not installed: '
        "pip install '.[datasets]' in the checkout"
    )
