"""Files that are whole or not there, on a disk that is full too."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

import pytest

from edge_runtime.files import plain, room, write_whole


def test_what_was_there_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "f"
    for content in ("one", b"two"):
        write_whole(path, content)
    assert path.read_text() == "two"
    assert [p.name for p in path.parent.iterdir()] == ["f"]


def test_a_full_disk_is_said_of_the_file_and_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "f"
    write_whole(path, "old")

    def fill(self: Path, content: bytes) -> int:
        self.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", fill)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)) as caught:
        write_whole(path, "new")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(path))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_that_names_a_file_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        write_whole(tmp_path / "d", "x")
    assert caught.value.filename2 == str(tmp_path / "d")


def test_a_folder_that_was_made_and_stays_empty_goes_again(tmp_path: Path) -> None:
    kept, deep = tmp_path / "kept", tmp_path / "kept" / "a" / "b"
    kept.mkdir()
    found = []
    with suppress(ValueError), room(deep):
        found.append(deep.is_dir())
        raise ValueError
    assert found == [True]
    assert list(tmp_path.rglob("*")) == [kept]
    with room(kept):
        pass
    with room(deep):
        (deep / "f").touch()
    assert (deep / "f").exists()


def test_a_path_is_shorter_only_where_it_is_the_same_place(tmp_path: Path) -> None:
    (tmp_path / "far" / "a").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far" / "a")
    assert plain(tmp_path / "x" / ".." / "b") == tmp_path / "b"
    assert str(plain(tmp_path / "link" / ".." / "b")) == f"{tmp_path}/link/../b"
    assert plain(tmp_path / "link") == tmp_path / "link"
