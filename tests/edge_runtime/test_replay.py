"""Footage through the real loop: what the policy sees, what reaches the null bus, and what is refused beforehand."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edge_runtime import cli, replay
from edge_runtime.bundle_spec import VectorSpec
from edge_runtime.errors import BundleError, EdgeError, InstructionError
from edge_runtime.footage import camera_fields, take_episodes
from tests.calibration import rlds_writer
from tests.conftest import ROOT
from tests.edge_runtime.replay_probe import EPISODES, SPEC, STEPS, Footage, ProbePolicy, Recording


def run_probe(folder: Path, fails_at: int = STEPS) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the probe saw, and its commands.npz."""
    command = [sys.executable, "-m", "tests.edge_runtime.replay_probe", str(folder), str(fails_at)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=60)
    with np.load(folder / "commands.npz") as commands:
        return json.loads((folder / "probe.json").read_text()), dict(commands)


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    return run_probe(tmp_path_factory.mktemp("probe"))


def test_each_frame_meets_its_state_and_its_instruction(probe: tuple[dict[str, Any], dict[str, Any]]) -> None:
    shown: dict[int, list[int]] = {k: [] for k in range(EPISODES)}
    for one in probe[0]["seen"]:
        if one["instruction"] == "replay":
            continue  # the warm-up
        step, episode, camera = one["frames"]["base"]
        assert camera == 0
        assert one["frames"]["wrist"] == [step, episode, 1]
        assert one["instruction"] == f"task {episode}"
        np.testing.assert_allclose(one["state"], [step, -step], atol=1e-4)
        shown[episode].append(step)
    for steps in shown.values():
        assert steps == sorted(steps)
        assert len(set(steps)) >= STEPS - 2, "a busy machine may miss one, not most"


def test_the_recorded_commands_are_what_the_policy_asked_for(probe: tuple[dict[str, Any], dict[str, Any]]) -> None:
    report, commands = probe
    t_ns, command, episode = commands["t_ns"], commands["command"], commands["episode"]
    assert t_ns.shape == episode.shape == command.shape[:1]
    assert (np.diff(t_ns) > 0).all()
    for index in range(EPISODES):
        mine = command[episode == index]
        np.testing.assert_allclose(mine[:, 1], -mine[:, 0], atol=1e-6)
        np.testing.assert_allclose(mine, mine.round(), atol=1e-6)
        assert (np.diff(mine[:, 0]) >= 0).all()
        assert mine[0, 0] == 0
        assert mine[-1, 0] >= STEPS - 2
        assert report["summary"]["replay"]["episodes"][index]["commands"] == len(mine)
    assert (episode == -1).any(), "arming, going to the start and parking are commands too"


def test_every_episode_runs_to_its_end(probe: tuple[dict[str, Any], dict[str, Any]]) -> None:
    report = probe[0]
    assert (report["episodes"], report["successes"]) == (EPISODES, EPISODES)
    assert report["states"]["HOLD"] == report["states"]["SAFE"] == 0
    played = report["summary"]["replay"]
    assert played["rate_hz"] == 10.0
    assert [(e["episode"], e["steps"], e["seconds"], e["cut"]) for e in played["episodes"]] == [
        (k, STEPS, STEPS / 10, "") for k in range(EPISODES)
    ]
    assert "episode 1: 8 steps in 0.8 s" in report["text"]


def test_a_fault_cuts_its_episode_short_and_no_other(tmp_path: Path) -> None:
    report, commands = run_probe(tmp_path, fails_at=3)
    first, second = report["summary"]["replay"]["episodes"]
    assert first["cut"].startswith("HOLD: ")
    assert "it does not want to" in first["cut"]
    assert 0.3 <= first["seconds"] < STEPS / 10
    assert (second["seconds"], second["cut"]) == (STEPS / 10, "")
    assert (report["episodes"], report["successes"]) == (2, 1)
    assert report["states"]["SAFE"] == 0
    assert commands["command"][commands["episode"] == 0, 0].max() <= 2
    assert "cut short: HOLD" in report["text"]


@pytest.fixture
def no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe policy for any bundle, and a robot that must not be started."""

    def never(*_: object, **__: object) -> None:
        pytest.fail("the robot was started")

    monkeypatch.setattr("edge_runtime.replay.open_policy", lambda _: ProbePolicy())
    monkeypatch.setattr("edge_runtime.app.run_robot", never)


class Wordy(Footage):
    """A third episode, with an instruction that the probe does not take."""

    def episodes(self) -> Any:
        yield from super().episodes()
        yield Recording(2, "put the cup on the tray that is behind the red box")


def test_an_instruction_that_is_too_long_is_refused_before_anything_runs(no_run: None) -> None:
    with pytest.raises(InstructionError, match="probe, episode 2: too long"):
        replay.replay_frames(Wordy(), Path("bundle"), cameras={"base": "left"}, episodes=[0, 2])


def test_an_instruction_that_is_too_long_is_not_played_where_nobody_named_its_episode() -> None:
    takes = take_episodes(Wordy(), SPEC, camera_fields(SPEC, Wordy(), {"base": "left"}), None)
    accepted, refused = replay.playable(ProbePolicy(), takes)
    assert [take.index for take in accepted] == [0, 1]
    assert [line.partition(":")[0] for line in refused] == ["episode 2"]


@pytest.mark.parametrize(
    ("joints", "says"),
    [
        (VectorSpec(("a",), ("rad",), 4), "states of 2 and actions of 1 dimensions"),
        (VectorSpec(("a", "b"), ("m", "m"), 4), "action a is in m, joints are in rad or deg"),
    ],
)
def test_a_policy_for_no_arm_of_joints(
    no_run: None, monkeypatch: pytest.MonkeyPatch, joints: VectorSpec, says: str
) -> None:
    class Narrow(Footage):
        def episodes(self) -> Any:
            for one in super().episodes():
                one.__class__ = type("Narrow", (Recording,), {"action": one.state[:, : joints.dims]})
                yield one

    monkeypatch.setattr(ProbePolicy, "spec", msgspec.structs.replace(SPEC, action=joints))
    with pytest.raises(BundleError, match=says):
        replay.replay_frames(Narrow(), Path("bundle"), cameras={"base": "left"})


def test_footage_without_a_rate(no_run: None) -> None:
    class Timeless(Footage):
        rate_hz = None  # type: ignore[assignment]

    with pytest.raises(EdgeError, match="probe: does not record its rate: give --rate HZ"):
        replay.replay_frames(Timeless(), Path("bundle"), cameras={"base": "left"})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--rate", "5"], 'tiny: no camera "base" for the bundle\'s "base": give --map base=FIELD; known: eye'),
        (["--rate", "5", "--map", "base=eye", "--map", "wrist=eye"], "states of 3 dimensions, the bundle's have 2"),
        (["--map", "base=eye", "--map", "wrist=eye"], "tiny: does not record its rate"),
        (["--map", "base"], '"base" is not CAMERA=FIELD'),
        (["--episodes", "1,x"], 'neither "all" nor numbers'),
        (["--rate", "0"], "--rate"),
    ],
)
def test_the_command_line_says_what_does_not_fit(
    no_run: None, tmp_path: Path, capfd: pytest.CaptureFixture[str], options: list[str], says: str
) -> None:
    rlds_writer.write_dataset(tmp_path, [[rlds_writer.example(rlds_writer.episode())]])
    assert cli.main(["replay-frames", str(tmp_path), "--bundle", "b", *options]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert says in err
    assert err.startswith("edge: ")
    assert err.count("\n") == 1


def test_a_damaged_dataset_is_one_line(no_run: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (shard,) = rlds_writer.write_dataset(tmp_path, [[rlds_writer.example(rlds_writer.episode(state=2))]])
    shard.write_bytes(shard.read_bytes()[:-9])
    options = ["--rate", "5", "--map", "base=eye", "--map", "wrist=eye"]
    assert cli.main(["replay-frames", str(tmp_path), "--bundle", "b", *options]) == 2
    assert capfd.readouterr().err.startswith(f"edge: {shard}, record 0 at byte 0: the file ends inside the record")


@pytest.fixture(scope="module")
def golden(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden pi0, exported for the footage's pictures and for instructions as long as the footage's."""
    pytest.importorskip("torch", reason="exporting needs torch")
    from export.layouts.options import Options
    from export.pipeline import export_checkpoint

    source, folder = shared / "golden" / "a" / "pi0_lerobot", tmp_path_factory.mktemp("golden")
    shutil.copytree(source / "checkpoint", folder / "checkpoint", copy_function=shutil.copyfile)
    (folder / "checkpoint").chmod(0o755)
    config = folder / "checkpoint" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "tokenizer_max_length": 48}))
    options = Options(
        cameras={"base": (64, 64), "wrist": (64, 64)},
        dims=source / "dims.json",
        tokenizer=source / "tokenizer" / "tokenizer.json",
        fps=5.0,
    )
    return export_checkpoint(folder / "checkpoint", folder / "bundle", options)


def test_the_golden_pi0_drives_the_null_arm_on_widowx_footage(shared: Path, golden: Path, tmp_path: Path) -> None:
    data, report_json = shared / "data" / "bridge_rlds", tmp_path / "again.json"
    edge = [sys.executable, "-m", "edge_runtime", "replay-frames", str(data), "--bundle", str(golden)]
    which = ["--map", "base=image_0", "--map", "wrist=image_1", "--episodes", "0,3", "--rate", "10"]
    done = subprocess.run(
        [*edge, *which, "--report", str(tmp_path), "--json", str(report_json)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "turn lever vertical to front" in done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert json.loads(report_json.read_text()) == report
    assert report["task"] == {"episodes": 2, "successes": 2, "cut_off": 0}
    assert report["states"]["HOLD"] == report["states"]["SAFE"] == 0
    assert report["chunks"] >= 12
    assert report["inference_ms"]["p50"] > 0
    assert report["sensor_to_motor_ms"]["p50"] > 0
    assert [e["instruction"] for e in report["replay"]["episodes"]] == [
        "put cup from counter or drying rack into sink",
        "turn lever vertical to front",
    ]
    with np.load(tmp_path / "commands.npz") as commands:
        command, episode = commands["command"], commands["episode"]
    assert command.shape[1] == 7
    assert np.isfinite(command).all()
    means = [command[episode == k].mean(axis=0) for k in (0, 3)]
    assert all((episode == k).sum() >= 80 for k in (0, 3))
    assert np.abs(means[0] - means[1]).max() > 1e-3, "what it sees and is told changes what it does"
