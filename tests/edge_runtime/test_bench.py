"""`edge bench --sim`: which robot it runs, the floor before and after, what it says where something is missing."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edge_runtime import bench, cli
from edge_runtime.config import Robot
from edge_runtime.errors import EdgeError
from edge_runtime.floor import Floor
from edge_runtime.record import RunRecord
from tests.edge_runtime.sample_record import record


class Bench:
    """What the bench did, in order, with the simulator, the loop and cyclictest replaced."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.did: list[str] = []
        self.robot: Robot | None = None
        self.floor: Floor | EdgeError = Floor(np.array([0, 90, 10]), 0, 7)
        self.said: list[str] = []
        monkeypatch.setattr(bench.app, "run_robot", self.run_robot)
        monkeypatch.setattr(bench.floor, "measure", self.measure)
        monkeypatch.setattr(bench.plugins, "require", lambda _: SimpleNamespace(SimProcess=self.simulator))

    def run_robot(self, robot: Robot, *, seconds: float) -> RunRecord:
        self.robot = robot
        self.did.append(f"loop {seconds:g} s")
        return record(seconds=2.0)

    def measure(self, period_us: int, priority: int, seconds: float, cpu: int) -> Floor:
        self.did.append(f"floor {period_us} µs, {priority}, {seconds:g} s")
        if isinstance(self.floor, EdgeError):
            raise self.floor
        return self.floor

    def simulator(self, folder: Path, seed: int) -> Bench:
        return self

    def __enter__(self) -> Bench:
        self.did.append("simulator starts")
        return self

    def __exit__(self, *_: object) -> None:
        self.did.append("simulator ends")

    def ask(self, **command: Any) -> dict[str, Any]:
        blue = {"instruction": "grasp the blue cup", "success": "loop 8 s" in self.did}
        return {"cups": [blue, {"instruction": "grasp the red cup", "success": False}]}

    def run(self, folder: Path | None = None) -> dict[str, Any]:
        return bench.bench_sim(200.0, 8.0, Path("some/bundle"), folder, self.said.append)


@pytest.fixture
def benched(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


def test_the_floor_is_measured_before_and_after_with_the_simulator_there(benched: Bench) -> None:
    report = benched.run()
    half = "floor 5000 µs, 50, 4 s"
    assert benched.did == ["simulator starts", half, "loop 8 s", half, "simulator ends"]
    assert report["floor_us"] == {"p50": 1.0, "p99": 2.0, "p99_9": 2.0, "max": 7.0}
    assert report["lateness_over_floor"]["max"] > 1


def test_the_simulators_judge_says_whether_the_task_was_done(benched: Bench) -> None:
    assert benched.run()["task"]["successes"] == 1


def test_the_robot_is_at_one_task_from_the_first_tick_to_the_last(benched: Bench) -> None:
    benched.run()
    robot = benched.robot
    assert robot is not None
    assert robot.control.rate_hz == 200.0
    assert robot.policy.autostart
    assert robot.policy.instruction == "grasp the blue cup"
    assert robot.policy.bundle == str(Path("some/bundle").absolute())
    assert robot.episode.timeout_s > 8.0


def test_without_cyclictest_there_is_no_floor_and_one_line_says_so(benched: Bench) -> None:
    benched.floor = EdgeError("no floor measured: cyclictest is not installed: sudo apt-get install rt-tests")
    report = benched.run()
    assert benched.did.count("floor 5000 µs, 50, 4 s") == 1
    assert "floor_us" not in report
    assert [line for line in benched.said if "rt-tests" in line] == [str(benched.floor)]


def test_the_files_are_written_and_named(benched: Bench, tmp_path: Path) -> None:
    benched.run(tmp_path / "out")
    assert (tmp_path / "out" / "report.json").is_file()
    assert 'class="floor"' in (tmp_path / "out" / "report.html").read_text()
    assert str(tmp_path / "out" / "report.html") in benched.said[-1]


def test_without_a_bundle_it_says_how_to_get_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bench, "CHECKPOINT", tmp_path / "nowhere")
    assert cli.main(["bench", "--sim"]) == 2
    assert capsys.readouterr().err == (
        "edge: runs/demo/bundle: no such bundle: make demo makes it, or name one with --bundle\n"
    )
