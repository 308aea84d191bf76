"""Black boxes in their folder: whole or not there, so many and no more, and never the last of the disk."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
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


def grown(path: Path, size: int) -> Path:
    """`path` with so many bytes on the disk."""
    path.write_bytes(bytes([1]) * size)
    return path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


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
    kept = [grown(folder.keep(later(k)), 2_000_000) for k in range(3)]
    usage = type("usage", (), {"free": FREE_BYTES + 1_000_000})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    newest = folder.keep(later(9)).name
    assert names(tmp_path) == [kept[2].name, newest], "4 MB are needed: two of the old ones are enough"


def test_nothing_goes_where_all_of_it_were_not_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file with a second name gives nothing back."""
    folder = Folder(tmp_path / "boxes", 9)
    folder.prepare()
    kept = [grown(folder.keep(later(k)), 1_500_000).name for k in range(3)]
    (tmp_path / "copy.mcap").hardlink_to(tmp_path / "boxes" / kept[0])
    usage = type("usage", (), {"free": FREE_BYTES + 500_000})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OSError, match="too small to make way"):
        folder.keep(later(9))
    assert names(tmp_path / "boxes") == kept


def test_files_are_their_owners_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first byte on, and those that an earlier version has left."""
    modes = []
    monkeypatch.setattr(folder, "write", lambda one, file: modes.append(mode(Path(file.name))))
    boxes = Folder(tmp_path, 9)
    before = os.umask(0)
    try:
        path = boxes.keep(incident())
    finally:
        os.umask(before)
    assert (modes, mode(path)) == ([0o600], 0o600)
    path.chmod(0o644)
    (tmp_path / "notes.txt").touch(0o644)
    (tmp_path / "notes.txt").chmod(0o644)
    boxes.prepare()
    assert (mode(path), mode(tmp_path / "notes.txt")) == (0o600, 0o644)


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


def test_what_a_killed_process_has_left_goes_and_what_one_is_writing_stays(tmp_path: Path) -> None:
    """A run that is killed leaves a process that writes; the next run may begin before that is done."""
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    (tmp_path / f".black-box.{gone.pid}.part").write_bytes(b"half a black box")
    (tmp_path / f".black-box.{os.getppid()}.part").write_bytes(b"half a black box")
    Folder(tmp_path, 3).prepare()
    assert names(tmp_path) == [f".black-box.{os.getppid()}.part"]


def test_where_nothing_can_be_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match=r"File exists|Not a directory"):
        Folder(tmp_path / "file", 3).prepare()
