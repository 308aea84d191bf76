"""The record of a trial: wherever the power goes, a system that did not prove itself finds itself on trial."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_runtime.deploy.places import under
from edge_runtime.deploy.update import layout, record
from tests.edge_runtime.deploy.models import power

CUTS = 12
"""More than there are operations in a step."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    boot = tmp_path / "proc/sys/kernel/random/boot_id"
    boot.parent.mkdir(parents=True)
    boot.write_text("boot-1\n")
    under(tmp_path, layout.RECORDS).mkdir(parents=True)
    return tmp_path


def cut(root: Path, after: int, monkeypatch: pytest.MonkeyPatch, step: object) -> bool:
    """Whether the power went before the end of `step`."""
    before = power.inodes(root)
    with power.disk(root, monkeypatch) as disk:
        disk.after, disk.armed = after, True
        try:
            step()  # type: ignore[operator]
        except power.Cut:
            disk.armed = False
            power.lose(disk, before)
            return True
        finally:
            disk.armed = False
    return False


@pytest.mark.parametrize("after", range(CUTS))
def test_a_trial_that_is_begun_is_on_the_disk(after: int, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the update is written before this returns."""
    gone = cut(root, after, monkeypatch, lambda: record.begin(root, "B", "1.3"))
    if not gone:
        assert record.on_trial(root) == record.Trial("B", "1.3", "boot-1")
    assert record.on_trial(root) in (None, record.Trial("B", "1.3", "boot-1"))


@pytest.mark.parametrize("after", range(CUTS))
def test_a_trial_that_ends_is_still_one_or_has_an_end(after: int, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record.begin(root, "B", "1.3")
    trial = record.on_trial(root)
    assert trial is not None
    gone = cut(root, after, monkeypatch, lambda: record.end(root, trial, good=True, why="well"))
    ended = record.last(root)
    assert record.on_trial(root) == trial or ended == record.Ended("B", "1.3", True, "well")
    assert gone or (record.on_trial(root) is None and ended is not None)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"slot":"B"}', "\x00" * 8, "[" * 100_000], ids=range(6))
def test_what_cannot_be_read_is_no_trial(text: str, root: Path) -> None:
    under(root, layout.TRIAL).write_text(text)
    assert record.on_trial(root) is None
