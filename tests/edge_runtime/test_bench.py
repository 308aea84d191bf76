"""`edge bench --sim`: which robot it runs, the floor before and after, what it says where something is missing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from edge_runtime import bench, bench_text, cli
from edge_runtime.config import Robot
from edge_runtime.errors import EdgeError
from edge_runtime.floor import Floor
from edge_runtime.link import Link
from edge_runtime.record import RunRecord
from edge_runtime.states import DISARMED, PARK, READY, TASK
from tests.edge_runtime.fakes import FakePolicy, robot, spec
from tests.edge_runtime.sample_record import record


class Bench:
    """What the bench did, in order, with the simulator, the loop and cyclictest replaced."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.did: list[str] = []
        self.robot: Robot | None = None
        self.floor: Floor | EdgeError = Floor(np.array([0, 90, 10]), 0, 7)
        self.said: list[str] = []
        self.arm: Arm | None = None
        self.left = record(seconds=2.0)
        monkeypatch.setattr(bench, "load", self.load)
        monkeypatch.setattr(bench, "open_bundle", lambda path: SimpleNamespace(path=path))
        monkeypatch.setattr(bench.app, "run_robot", self.run_robot)
        monkeypatch.setattr(bench.floor, "measure", self.measure)
        monkeypatch.setattr(bench.plugins, "require", lambda _: SimpleNamespace(SimProcess=self.simulator))

    def run_robot(self, robot: Robot, *, seconds: float, beside: Any) -> RunRecord:
        self.robot = robot
        self.did.append(f"loop {seconds:g} s")
        if self.arm is not None:
            beside(self.arm, self.arm.over)
        return self.left

    @contextmanager
    def load(self, kind: str) -> Iterator[None]:
        self.did.append(f"busy {kind}")
        yield
        self.did.append(f"{kind} is free again")

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
        return {"cups": []}

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


class Arm:
    """A session whose tasks succeed at the second look, and whose loop is over after the second success."""

    def __init__(self) -> None:
        self.loop = SimpleNamespace(director=SimpleNamespace(mode=DISARMED, prompt=None))
        self.told: list[object] = []
        self.robot: Any = None
        self.policy: Any = None
        self.link: Any = None
        self.over = threading.Event()
        self.looks = 0

    def handle(self, request: dict[str, Any]) -> Any:
        self.told.append(request.get("instruction", request["cmd"]))
        director = self.loop.director
        director.mode, director.prompt = (PARK, None) if request["cmd"] == "done" else (TASK, "a prompt")
        if self.told.count("done") == 2:
            self.over.set()
        return lambda: {"ok": True}

    def ask(self, **command: Any) -> dict[str, Any]:
        if command["cmd"] == "lay":
            self.looks = 0
            return {"cups": [{"instruction": f"grasp cup {command['seed']}"}]}
        self.looks += 1
        return {"cups": [{"success": self.looks == 2}, {"success": True}]}


def test_one_task_after_another_as_the_simulators_judge_sees_them_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "POLL_S", 0.001)
    arm = Arm()
    busy = threading.Thread(target=bench.keep_busy, args=(arm.ask, arm, arm.over))
    busy.start()
    assert not arm.told, "nothing is asked of an arm that is not ready"
    arm.loop.director.mode = READY
    busy.join(10)
    assert not busy.is_alive()
    assert arm.told == ["grasp cup 1", "done", "grasp cup 2", "done"]


def test_the_load_is_there_for_the_floor_as_for_the_loop(benched: Bench) -> None:
    report = bench.bench_sim(200.0, 8.0, Path("some/bundle"), None, benched.said.append, "memory")
    half = "floor 5000 µs, 50, 4 s"
    assert benched.did[1:-1] == ["busy memory", half, "loop 8 s", half, "memory is free again"]
    assert report["load"] == "memory"
    assert "beside it: busy memory\n" in bench_text.text(report)


def test_slots_that_cyclictest_missed_stand_beside_those_of_the_loop(benched: Bench) -> None:
    benched.floor = Floor(np.array([0] * 4_999 + [90, 2, 3]), 1, 9_000)
    report = benched.run()
    assert report["floor_missed"] == 2 * (2 + 3 + 1)
    assert "slots that cyclictest missed: 12; this loop: 3\n" in bench_text.text(report)


def test_a_tick_that_is_late_because_of_the_serial_cycle_before_is_told_apart(
    benched: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = record(seconds=2.0)
    run.lateness_ns[:], run.serial_ns[:] = 50_000, 1_500_000
    run.lateness_ns[[10, 20, 30]] = 500_000
    run.serial_ns[19] = 4_500_000  # at 200 ticks a second it may take 4 ms
    run.serial_ns[28] = 9_000_000
    monkeypatch.setattr(benched, "left", run)
    report = benched.run()
    assert report["late"] == {"ticks": 3, "after_serial": 1}
    assert "ticks that woke half a millisecond late or more: 3, of which 1 because" in bench_text.text(report)


def test_a_robot_is_measured_as_it_stands_with_inference_at_work(benched: Bench) -> None:
    benched.arm = arm = Arm()
    settings = robot()
    settings = msgspec.structs.replace(settings, policy=msgspec.structs.replace(settings.policy, autostart=True))
    arm.robot, arm.policy, arm.link = settings, FakePolicy(spec(settings.joint_names)), Link(1, 1, 1)
    threading.Timer(0.2, arm.over.set).start()
    report = bench.bench_robot(settings, None, 8.0, None, benched.said.append)
    assert benched.robot is not None
    assert not benched.robot.policy.autostart
    assert benched.robot.control.rate_hz == settings.control.rate_hz
    assert arm.told == [], "no command"
    assert arm.link.request.number < 0, "no motion takes such a chunk"
    assert arm.link.request.prompt is not None
    assert report["page_faults"] is None
    assert "page faults of the control thread: not counted" in bench_text.text(report)


def test_a_run_that_wrote_nothing_knows_nothing_of_the_age_of_what_moved(benched: Bench) -> None:
    report = benched.run()
    assert "not measured" not in bench_text.text(report)
    report["sensor_to_motor_ms"] = dict.fromkeys(report["sensor_to_motor_ms"])
    assert "sensor to motor: not measured, nothing was written to the motors\n" in bench_text.text(report)


def test_what_changed_of_the_machine_meanwhile_is_shown(benched: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    states = iter([{"temperature": f"cpu {celsius} °C", "governor": "powersave"} for celsius in (50, 71)])
    monkeypatch.setattr(bench, "_machine", states.__next__)
    words = bench_text.text(benched.run())
    assert "temperature: cpu 71 °C (before: cpu 50 °C)\ngovernor: powersave\n" in words


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "give one of ROBOT.TOML, which is measured as it stands, and --sim, which moves"),
        (["robot.toml", "--sim"], "give one of ROBOT.TOML, which is measured as it stands, and --sim, which moves"),
        (["robot.toml", "--bundle", "b"], "--bundle goes with --sim"),
        (["robot.toml"], "robot.toml: "),
    ],
)
def test_usage(
    arguments: list[str],
    says: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["bench", *arguments]) == 2
    assert says in capsys.readouterr().err


def test_the_robot_is_armed_at_once(benched: Bench) -> None:
    benched.run()
    robot = benched.robot
    assert robot is not None
    assert robot.control.rate_hz == 200.0
    assert robot.policy.autostart
    assert robot.policy.bundle == str(Path("some/bundle").absolute())


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


def test_without_a_bundle_the_demos_checkpoint_is_exported(
    benched: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As `edge export` does it: with its options."""
    pytest.importorskip("torch", reason="torch is not installed")
    from export import cli as exporter
    from export.layouts.options import Options

    monkeypatch.chdir(tmp_path)
    exports: list[tuple[Path, Path, Options]] = []
    monkeypatch.setattr("export.cli.export_checkpoint", lambda *given: exports.append(given[:3]))
    simulator = bench.plugins.require("drivers.sim.process")
    monkeypatch.setattr(bench.plugins, "require", {"drivers.sim.process": simulator, "export.cli": exporter}.get)
    bench.bench_sim(200.0, 8.0, None, None, benched.said.append)
    assert exports == [(bench.CHECKPOINT, bench.BUNDLE, Options())]
    assert benched.robot is not None
    assert benched.robot.policy.bundle == str(bench.BUNDLE.absolute())


def test_a_bundle_that_is_none_is_refused_before_anything_is_measured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["bench", "--sim", "--bundle", "nope"]) == 2
    assert capsys.readouterr().err == ("edge: nope: no such bundle; make one with `edge export CHECKPOINT -o nope`\n")
