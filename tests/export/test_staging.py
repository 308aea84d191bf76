"""Whole or not at all: what is there before stays until what comes after is complete."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from export.errors import ExportError
from export.staging import staged


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_it_appears_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "new"
    with staged(target, "mark") as folder:
        (folder / "mark").touch()
        assert not target.exists()
    assert names(target) == ["mark"]
    assert names(tmp_path / "deep") == ["new"]
    assert target.stat().st_mode & 0o077 == tmp_path.joinpath("deep").stat().st_mode & 0o077


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_what_was_there(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "old"
    target.mkdir()
    (target / "mark").write_text("old")

    def fail() -> None:
        with staged(target, "mark") as folder:
            (folder / "mark").write_text("half of the ne")
            raise error

    with pytest.raises(error):
        fail()
    assert (target / "mark").read_text() == "old"
    assert names(tmp_path) == ["old"]


def test_the_old_one_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "x"
    target.mkdir()
    for name in ("mark", "old"):
        (target / name).touch()
    with staged(target, "mark") as folder:
        (folder / "mark").touch()
    assert names(target) == ["mark"]
    assert names(tmp_path) == ["x"]


def test_the_old_one_comes_back_if_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "x"
    target.mkdir()
    (target / "mark").write_text("old")
    rename = Path.rename

    def refuse_new(self: Path, to: Path) -> Path:
        if self.name == "new":
            raise OSError(18, "somewhere else")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", refuse_new)
    with pytest.raises(ExportError, match="somewhere else"), staged(target, "mark") as folder:
        (folder / "mark").write_text("new")
    assert (target / "mark").read_text() == "old"
    assert names(tmp_path) == ["x"]


def test_an_empty_directory_may_be_filled_and_nothing_else_of_somebodys(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    with staged(tmp_path / "empty", "mark"):
        pass
    for taken in ("file", "full"):
        with pytest.raises(ExportError, match="exists and has no mark"), staged(tmp_path / taken, "mark"):
            pytest.fail("the block must not run")
    assert names(tmp_path / "full") == ["thesis.txt"]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match="cannot be written"), staged(tmp_path / "file" / "x", "mark"):
        pytest.fail("the block must not run")


def test_a_full_disk_is_one_line_and_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "made"
    with staged(target, "mark") as folder:
        (folder / "mark").write_text("old")
    with (
        pytest.raises(ExportError, match=f"made: cannot be written \\({os.strerror(errno.ENOSPC)}\\)"),
        staged(target, "mark"),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert (target / "mark").read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def killed(target: Path, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """Stage `target` in a process that kills itself in the block, or between the two renames that end it."""
    rename = Path.rename

    def dying(self: Path, to: Path) -> Path:
        if self.name == "new":
            os.kill(os.getpid(), signal.SIGKILL)
        return rename(self, to)

    child = os.fork()
    if child == 0:
        try:
            monkeypatch.setattr(Path, "rename", dying)
            with staged(target, "mark") as folder:
                (folder / "mark").write_text("half of the ne")
                if when == "block":
                    os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("when", ["block", "renames"])
def test_what_a_killed_process_left_goes_when_the_next_one_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """And what it had set aside is back, even where the next one fails."""
    target = tmp_path / "x"
    with staged(target, "mark") as folder:
        (folder / "mark").write_text("old")
    killed(target, monkeypatch, when)
    assert target.exists() == (when == "block")
    assert any(name.startswith(".x.") for name in names(tmp_path))
    with pytest.raises(ValueError, match="no"), staged(target, "mark"):
        raise ValueError("no")
    assert (target / "mark").read_text() == "old"
    assert names(tmp_path) == ["x"]


def _unlock(folder: Path) -> None:
    (folder / "edge.lock").unlink()


def _rename(to: str) -> Callable[[Path], None]:
    return lambda folder: (folder.rename(folder.with_name(to)), None)[1]


@pytest.mark.parametrize(
    "change", [_unlock, _rename(".x.settings.toml"), _rename(".y.abcdefgh"), _rename("x.abcdefgh")]
)
def test_what_is_not_surely_left_by_us_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    killed(tmp_path / "x", monkeypatch, "block")
    (left,) = tmp_path.iterdir()
    change(left)
    (left,) = tmp_path.iterdir()
    with staged(tmp_path / "x", "mark"):
        pass
    assert names(tmp_path) == sorted((left.name, "x"))


def test_two_at_once_leave_each_other_alone(tmp_path: Path) -> None:
    target = tmp_path / "x"
    with staged(target, "mark") as first:
        (first / "mark").write_text("first")
        with staged(target, "mark") as second:
            (second / "mark").write_text("second")
        assert (target / "mark").read_text() == "second"
    assert (target / "mark").read_text() == "first"
    assert names(tmp_path) == ["x"]
