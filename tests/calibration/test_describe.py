"""`edge dataset`: what is in a dataset, counted over all that is whole, and every damaged record with its place."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from calibration.datasets.base import DatasetError
from calibration.datasets.rlds import Reader
from calibration.describe import describe, text
from edge_runtime import cli
from tests.calibration import rlds_writer as writer


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    """Three episodes of 3, 4 and 5 steps, the second with an image that does not decode."""
    episodes = [writer.episode(steps=3 + i, instruction=f"task {i % 2}") for i in range(3)]
    episodes[1]["steps/observation/eye"][2] = b"nothing"  # type: ignore[call-overload]
    return writer.write_dataset(tmp_path, [[writer.example(e) for e in episodes]])[0]


def test_every_figure(tmp_path: Path, shard: Path) -> None:
    heard: list[tuple[int, int]] = []
    facts = describe(Reader(tmp_path), told=lambda done, of: heard.append((done, of)))
    assert heard == [(0, 3), (1, 3), (2, 3), (3, 3)]
    (damage,) = facts.pop("corrupt")
    assert damage.startswith(f"{shard}, record 1 at byte ")
    assert damage.endswith(", 'eye', step 2: 7 bytes that are neither JPEG nor PNG")
    assert facts == {
        "format": "rlds",
        "name": "tiny",
        "episodes": 2,
        "steps": 8,
        "rate_hz": None,
        "cameras": {"eye": [12, 16]},
        "state": {"dims": 3, "min": pytest.approx([0, 0.1, 0.2]), "max": pytest.approx([4, 4.1, 4.2]), "names": []},
        "action": {"dims": 2, "min": pytest.approx([-4, -4.1]), "max": pytest.approx([0, -0.1]), "names": []},
        "instructions": ["task 0"],
    }


def test_the_first_damage_where_that_is_asked_for(tmp_path: Path, shard: Path) -> None:
    with pytest.raises(DatasetError, match=r"record 1 at byte \d+, .eye., step 2: 7 bytes"):
        describe(Reader(tmp_path), "fail")


def test_nothing_whole(tmp_path: Path, shard: Path) -> None:
    shard.write_bytes(b"")
    facts = describe(Reader(tmp_path))
    assert (facts["episodes"], facts["cameras"], facts["state"]["dims"]) == (0, {}, 0)
    assert facts["corrupt"] == [f"{shard}: holds 0 records, 3 were promised"]
    assert "0 episodes, 0 steps" in text(facts)


def test_names_and_long_lists_in_words() -> None:
    vector = {"dims": 2, "min": [-1.0, 0.5], "max": [2.0, 0.5], "names": ["pan", "tilt"]}
    facts = {
        "format": "lerobot v3.0",
        "name": "cups",
        "episodes": 1,
        "steps": 9,
        "rate_hz": 29.97,
        "cameras": {"a": [480, 640]},
        "state": vector,
        "action": {**vector, "names": []},
        "instructions": [f"task {i}" for i in range(7)],
        "corrupt": [],
    }
    words = text(facts)
    assert words.splitlines()[0] == "cups: lerobot v3.0, 1 episode, 9 steps, 29.97 steps a second"
    for line in ("a  480×640", "pan           -1 to          2", "tilt         0.5 to        0.5"):
        assert line in words
    assert "task 4" in words
    assert "task 5" not in words
    assert "and 2 more (--json FILE has all)" in words


def test_the_command_on_the_real_sample(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = tmp_path / "found.json"
    assert cli.main(["dataset", str(shared / "data" / "bridge_rlds"), "--json", str(found)]) == 0
    out, err = capsys.readouterr()
    assert err == "", "no progress bar where nobody looks"
    assert out.startswith("bridge_dataset: rlds, 25 episodes, 250 steps, rate not recorded\n")
    assert out.endswith("corrupt       none\n")
    facts = json.loads(found.read_text())
    assert list(facts) == [
        "format",
        "name",
        "episodes",
        "steps",
        "rate_hz",
        "cameras",
        "state",
        "action",
        "instructions",
        "corrupt",
    ]
    assert facts["cameras"] == {f"image_{i}": [64, 64] for i in range(4)}
    assert len(facts["instructions"]) == 4
    assert facts["state"]["dims"] == facts["action"]["dims"] == 7
    assert np.less(facts["action"]["min"], facts["action"]["max"]).all()


def test_the_command_on_damage(tmp_path: Path, shard: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["dataset", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert "tiny: rlds, 2 episodes, 8 steps" in out
    assert f"corrupt       1\n              {shard}, record 1 at byte " in out
    assert err == ""
    assert cli.main(["dataset", str(tmp_path), "--on-corrupt", "fail"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"edge: {shard}, record 1 at byte ")
    assert err.count("\n") == 1
    assert cli.main(["dataset", str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err == f"edge: {tmp_path}/nowhere: no such folder\n"
