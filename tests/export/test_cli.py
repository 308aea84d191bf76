"""The words of a person: sizes of cameras, the table of families, and progress that does not end in the output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from edge_runtime import cli as edge
from export import cli
from export.errors import ExportError
from export.layouts.options import Options
from export.pipeline import Progress

FAMILIES = {
    "openvla": ("huggingface", "--camera"),
    "openvla_oft": ("huggingface", "--camera"),
    "pi0": ("lerobot, openpi", "--tokenizer"),
    "pi05": ("lerobot, openpi", "--tokenizer"),
    "pi0_fast": ("lerobot, openpi", "--fast-tokenizer"),
    "rt2": ("huggingface", "action_config.json"),
    "smolvla": ("lerobot", "--tokenizer"),
}
"""Every family: its layouts, and a word of what it needs."""


def test_height_comes_first_as_in_an_array() -> None:
    assert cli.camera_size("base=480x640") == ("base", (480, 640))
    assert cli.camera_size("left wrist=48×64") == ("left wrist", (48, 64))


@pytest.mark.parametrize("text", ["base", "base=640", "=640x480", "base=640x480x3", "base=-1x4", "base=axb"])
def test_no_size(text: str) -> None:
    with pytest.raises(ExportError, match="expected NAME=HEIGHTxWIDTH"):
        cli.camera_size(text)


def test_sizes_like_an_observations(tmp_path: Path) -> None:
    given = {"image.b": np.zeros((4, 6, 3), np.uint8), "image.a": np.zeros((2, 3, 3), np.uint8), "state": np.zeros(3)}
    save_file(given, tmp_path / "o.safetensors")
    assert cli.sizes_like(tmp_path / "o.safetensors") == {"a": (2, 3), "b": (4, 6)}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the export is asked for in place of exporting."""
    found: dict[str, Any] = {}

    def export(checkpoint: Path, out: Path, options: Options, progress: Progress) -> Path:
        progress("prefix", 0.5)
        found.update(checkpoint=checkpoint, out=out, options=options)
        return out

    monkeypatch.setattr(cli, "export_checkpoint", export)
    return found


def test_what_was_asked_for_is_what_is_exported(asked: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    options = Options(dims=Path("d"), fps=15.0)
    told: list[tuple[str, float]] = []

    def progress(what: str, part: float) -> None:
        told.append((what, part))

    assert cli.run(Path("in"), Path("out"), options, cameras=["a=4x3"], progress=progress) == Path("out")
    assert told == [("prefix", 0.5)]
    wanted = Options(cameras={"a": (4, 3)}, dims=Path("d"), fps=15.0)
    assert asked == {"checkpoint": Path("in"), "out": Path("out"), "options": wanted}
    assert capsys.readouterr().out == ""


def test_a_size_said_goes_before_one_of_an_observation(asked: dict[str, Any], tmp_path: Path) -> None:
    like = tmp_path / "o.safetensors"
    save_file({f"image.{name}": np.zeros((4, 6, 3), np.uint8) for name in ("a", "b")}, like)
    sizes = {"cameras": ["b=9x8", "c=1x2"], "cameras_like": like}
    cli.run(Path("in"), Path("out"), Options(), **sizes, progress=lambda _what, _part: None)
    assert asked["options"].cameras == {"a": (4, 6), "b": (9, 8), "c": (1, 2)}


def test_every_option_of_the_command_gets_there(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("edge_runtime.commands.models._describe", lambda *_: None)
    words = "--camera a=4x3 --fps 15 --steps 4 --max-tokens 60 --dims d --tokenizer t --fast-tokenizer f --statistics k"
    assert edge.main(["export", "in", "-o", "out", *words.split(), "--crop"]) == 0
    assert asked["options"] == Options(
        cameras={"a": (4, 3)},
        dims=Path("d"),
        tokenizer=Path("t"),
        fast_tokenizer=Path("f"),
        statistics="k",
        max_tokens=60,
        steps=4,
        fps=15.0,
        crop=True,
    )
    assert edge.main(["export", "in", "-o", "out"]) == 0
    assert asked["options"] == Options()


def test_the_list_names_every_family_for_a_person(capsys: pytest.CaptureFixture[str]) -> None:
    """A row with its layouts and its head, then a line with what it needs."""
    assert edge.main(["export", "--list"]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.split() == ["family", "layouts", "head"]
    rows = {row.split()[0]: (row, needs) for row, needs in zip(lines[::2], lines[1::2], strict=True)}
    assert set(rows) == set(FAMILIES)
    for name, (layouts, word) in FAMILIES.items():
        row, needs = rows[name]
        assert layouts in row
        assert needs.startswith("    needs ")
        assert word in needs


def test_the_list_for_a_program(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert edge.main(["export", "--list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["families"]
    assert [row["family"] for row in found] == sorted(FAMILIES)
    assert {row["family"]: row["layouts"] for row in found} == {name: told[0] for name, told in FAMILIES.items()}
    assert all(set(row) == {"family", "layouts", "head", "needs"} and all(row.values()) for row in found)
    assert edge.main(["export", "--list", "--json", str(tmp_path / "list.json")]) == 0
    assert json.loads((tmp_path / "list.json").read_text())["families"] == found
    assert "pi0_fast" in capsys.readouterr().out
