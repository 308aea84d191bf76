"""A boot test's rows: whatever goes wrong is a row that is not good, and what was not tried is no success."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.boot import image, nspawn, results
from benchmarks.boot.results import Checks, Wrong, until
from edge_runtime.errors import EdgeError


def _fails(error: Exception) -> str:
    raise error


def _quiet(_: str) -> None:
    """Tell nobody."""


def test_whatever_fails_is_a_row_and_the_next_is_tried() -> None:
    told: list[str] = []
    checks = Checks(told.append)
    assert not checks.check("wrong", "DISARMED", lambda: _fails(Wrong("RUN")))
    assert not checks.check("error", "an answer", lambda: _fails(EdgeError("no\nanswer")))
    assert checks.check("good", "READY", lambda: "READY")
    assert [(row.name, row.seen, row.good) for row in checks.rows] == [
        ("wrong", "RUN", False),
        ("error", "EdgeError: no answer", False),
        ("good", "READY", True),
    ]
    assert "expected: DISARMED" in told[0]
    assert not checks.good


def test_nothing_tried_is_no_success() -> None:
    assert not Checks(_quiet).good


def test_a_skip_is_no_row() -> None:
    checks = Checks(_quiet)
    with pytest.raises(image.Skip):
        checks.check("image", "Debian", lambda: _fails(image.Skip("no archive")))
    assert checks.rows == []


def test_the_file_says_when_and_whether(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    checks = Checks(_quiet)
    checks.check("boots", "READY", lambda: "READY")
    assert json.loads(checks.write("x", system="debian").read_text(encoding="utf-8"))["good"] is True
    checks.check("waits", "DISARMED", lambda: _fails(Wrong("RUN")))
    told = json.loads(checks.write("x", system="debian").read_text(encoding="utf-8"))
    assert told["system"] == "debian"
    assert not told["good"]
    assert [row["name"] for row in told["checks"]] == ["boots", "waits"]
    assert {"date", "seconds", "kernel"} <= set(told)


def test_what_never_comes_is_wrong() -> None:
    with pytest.raises(Wrong, match=r"not within 0.01 s: still RUN"):
        until(lambda: False, 0.01, lambda: "still RUN", poll_s=0.001)


@pytest.mark.parametrize(("user", "said"), [(1000, "it takes root"), (0, "apt-get install debian-thing")])
def test_a_skipped_tier_says_so_and_leaves_the_last_result(
    user: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    monkeypatch.setattr("os.geteuid", lambda: user)
    monkeypatch.setattr(nspawn, "TOOLS", {"no-such-program": "debian-thing"})
    monkeypatch.setattr("sys.argv", ["nspawn"])
    assert nspawn.main() == 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("SKIPPED:")
    assert said in lines[0]
    assert list(tmp_path.iterdir()) == []
