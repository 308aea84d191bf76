"""Black boxes in their folder: whole or not there, so many and no more, and never the last of the disk."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import BinaryIO

import msgspec
import pytest

from edge_runtime.black_box import folder, read
from edge_runtime.black_box.folder import FREE_BYTES, Folder
from edge_runtime.black_box.incident import Incident
from tests.edge_runtime.black_box.incidents import incident

NAME = "2023-11-14T233643.000Z_HOLD_newest-frame-of-camera-wrist-is-214-ms-old-limit.mcap"


def later(seconds: float) -> Incident:
    one = incident()
    one.trigger = msgspec.structs.replace(one.trigger, t_ns=one.trigger.t_ns + int(seconds * 1e9))
    return one


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_name_says_when_and_why(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "new" / "folder", 3)
    folder.prepare()
    path = folder.keep(incident())
    assert (path.name, names(path.parent)) == (NAME, [NAME])
    assert read.read(path).trigger == incident().trigger


def test_so_many_are_kept_and_files_of_others_are_left_alone(tmp_path: Path) -> None:
    others = ["2020-01-01.mcap", "notes.txt", "a.mcap"]
    for name in others:
        (tmp_path / name).write_text("mine")
    folder = Folder(tmp_path, 3)
    folder.prepare()
    kept = [folder.keep(later(k)).name for k in range(5)]
    assert names(tmp_path) == sorted([*kept[2:], *others])


def test_a_disk_that_is_nearly_full_keeps_the_newest_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(tmp_path, 9)
    for k in range(3):
        folder.keep(later(k))
    usage = type("usage", (), {})

    def disk(path: Path) -> object:
        """Room for one more once two have gone."""
        found = usage()
        found.free = FREE_BYTES + (10_000_000 if len(names(tmp_path)) < 2 else 1_000_000)
        return found

    monkeypatch.setattr(shutil, "disk_usage", disk)
    newest = folder.keep(later(9)).name
    assert newest in names(tmp_path)
    assert len(names(tmp_path)) == 2


def test_a_disk_that_is_full_says_so_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("usage", (), {"free": 3 << 20})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OSError, match=r"3 MiB of its disk are free, 10\d\d MiB are needed to leave 1024 MiB"):
        Folder(tmp_path, 9).keep(incident())
    assert names(tmp_path) == []


def test_a_write_that_fails_leaves_nothing_and_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(one: Incident, file: BinaryIO) -> None:
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(folder, "write", fails)
    with pytest.raises(OSError, match="No space left on device") as caught:
        Folder(tmp_path, 9).keep(incident())
    assert caught.value.filename == str(tmp_path / NAME)
    assert names(tmp_path) == []


def test_what_a_killed_process_has_left_goes(tmp_path: Path) -> None:
    (tmp_path / ".black-box.part").write_bytes(b"half a black box")
    Folder(tmp_path, 3).prepare()
    assert names(tmp_path) == []


def test_where_nothing_can_be_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match=r"File exists|Not a directory"):
        Folder(tmp_path / "file", 3).prepare()
