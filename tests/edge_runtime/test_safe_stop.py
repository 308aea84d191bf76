"""`edge safe-stop`: every bus gets its declared safe action, with retries, whatever the others do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from drivers.errors import Timeout
from edge_runtime import safe_stop
from edge_runtime.clock import MonotonicClock
from edge_runtime.config import Bus
from edge_runtime.devices import bus_settings
from tests.edge_runtime.fakes import FakeBus
from tests.robot_toml import HEAD, JOINT, ROBOT

ROOT = Path(__file__).resolve().parents[2]


class Line:
    """The buses that the program makes; each fails as often as a test says."""

    def __init__(self, failures: dict[str, int]) -> None:
        self.failures = failures
        self.made: list[FakeBus] = []

    def make(self, settings: Bus) -> FakeBus:
        bus = FakeBus(bus_settings(settings), MonotonicClock())
        if self.failures.get(settings.name, 0) > 0:
            self.failures[settings.name] -= 1
            bus.fail(Timeout(f"bus {settings.name}: no answer"), "safe_action")
        self.made.append(bus)
        return bus


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "robot.toml"
    second = HEAD[HEAD.index("[[buses]]") :].replace('"arm"', '"arm2"').replace("./arm", "./arm2")
    path.write_text(ROBOT + second + JOINT.format(name="lift", id=9) + 'safe = "release"\n')
    return path


def run(config: Path, line: Line, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(safe_stop, "make_bus", line.make)
    monkeypatch.setattr(safe_stop, "PAUSE_S", 0.0)
    return safe_stop.main([str(config)])


def test_every_bus_is_made_safe(config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    line = Line({})
    assert run(config, line, monkeypatch) == 0
    assert all(bus.safe and bus.calls == ["safe_action", "disconnect"] for bus in line.made)
    assert capsys.readouterr().out.splitlines()[-1] == "bus arm2: safe: lift release"


def test_it_tries_again(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line({"arm": safe_stop.ATTEMPTS - 1})
    assert run(config, line, monkeypatch) == 0
    assert len(line.made) == safe_stop.ATTEMPTS + 1


def test_one_bus_that_fails_spares_no_other(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    line = Line({"arm": 99})
    assert run(config, line, monkeypatch) == 2
    assert line.made[-1].settings.name == "arm2"
    assert line.made[-1].safe
    said = capsys.readouterr()
    assert said.err.splitlines() == ["edge: bus arm: NOT SAFE after 5 attempts: bus arm: no answer"]
    assert "arm2: safe" in said.out


def test_a_bug_in_one_driver_spares_no_other(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    line = Line({})

    def make(settings: Bus) -> FakeBus:
        if settings.name == "arm":
            raise ZeroDivisionError("a bug")
        return line.make(settings)

    monkeypatch.setattr(safe_stop, "make_bus", make)
    monkeypatch.setattr(safe_stop, "PAUSE_S", 0.0)
    assert safe_stop.main([str(config)]) == 2
    assert [bus.safe for bus in line.made] == [True]
    assert capsys.readouterr().err == "edge: bus arm: NOT SAFE after 5 attempts: ZeroDivisionError: a bug\n"


def test_a_port_that_is_not_there_is_one_line_and_exit_code_2(config: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "edge_runtime.safe_stop", str(config)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert ended.returncode == 2
    assert [line.partition(" after")[0] for line in ended.stderr.splitlines()] == [
        "edge: bus arm: NOT SAFE",
        "edge: bus arm2: NOT SAFE",
    ]


def test_it_loads_neither_policy_nor_cameras() -> None:
    code = (
        "import sys, edge_runtime.safe_stop, drivers.motors.feetech\n"
        "print([m for m in sys.modules if m.startswith(('cv2', 'onnx', 'torch', 'tokenizers', 'drivers.cameras.o'))\n"
        "       or m in ('edge_runtime.loop', 'edge_runtime.bundle')])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True, cwd=ROOT).strip() == "[]"


def test_wrong_use_says_how(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert safe_stop.main([]) == 2
    assert safe_stop.main([str(tmp_path / "none.toml")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "usage: edge safe-stop robot.toml"
    assert "none.toml: cannot be read" in lines[1]
