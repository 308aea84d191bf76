"""A machine's files and programs, there or not."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_runtime.doctor.host import Host, cores, shown


@pytest.mark.parametrize(("text", "found"), [("", []), ("3", [3]), ("0-2,5", [0, 1, 2, 5]), ("1,3-3", [1, 3])])
def test_lists_of_cores(text: str, found: list[int]) -> None:
    assert cores(text) == found


def test_what_is_not_there_is_nothing(tmp_path: Path) -> None:
    host = Host(tmp_path)
    assert host.read("/proc/version") is None
    assert host.glob("/sys/class/*") == []
    assert host.run("no-such-program-anywhere") is None
    assert host.run("false") is None
    assert not host.jetson


def test_a_file_loses_its_zeros_and_line_ends(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"NVIDIA Jetson\xff\0\n")
    assert Host(tmp_path).read("/model") == "NVIDIA Jetson�"


def test_long_lists_are_cut() -> None:
    assert shown([1, 2]) == "1, 2"
    assert shown([1, 2, 3, 4, 5, 6]) == "1, 2, 3, 4 and 2 more"
