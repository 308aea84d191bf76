"""The words of a person: sizes of cameras, and progress that does not end in the output."""

from __future__ import annotations

from pathlib import Path

import pytest

from export import cli
from export.errors import ExportError


def test_width_comes_first_for_people() -> None:
    assert cli.camera_size("base=480x640") == ("base", (480, 640))
    assert cli.camera_size("left wrist=48×64") == ("left wrist", (48, 64))


@pytest.mark.parametrize("text", ["base", "base=640", "=640x480", "base=640x480x3", "base=-1x4", "base=axb"])
def test_no_size(text: str) -> None:
    with pytest.raises(ExportError, match="expected NAME=HEIGHTxWIDTH"):
        cli.camera_size(text)


def test_what_was_asked_for_is_what_is_exported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {}

    def export(checkpoint: Path, out: Path, **options: object) -> Path:
        progress = options.pop("progress")
        progress("weights", 1, 7)  # type: ignore[operator]
        asked.update(options, checkpoint=checkpoint, out=out)
        return out

    monkeypatch.setattr(cli, "export_checkpoint", export)
    cli.run(Path("in"), Path("out"), cameras=["a=4x3"], dims=Path("d"), fps=15.0)
    assert asked == {
        "checkpoint": Path("in"),
        "out": Path("out"),
        "cameras": {"a": (4, 3)},
        "dims": Path("d"),
        "tokenizer": None,
        "fps": 15.0,
    }
    assert capsys.readouterr().out == ""
