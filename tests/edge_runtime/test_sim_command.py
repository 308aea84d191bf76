"""`edge sim`: the robot.toml that it leaves, what it shows commented out, and its refusals, one line each."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

import pytest

from drivers.sim.judge import FAULTS
from edge_runtime import cli, config
from edge_runtime.config import Robot
from tests.edge_runtime import sim_arm

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def running(*options: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "edge_runtime", "sim", *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


def refused(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """What `edge sim` says: one line with one prefix."""
    assert cli.main(["sim", *options]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("edge: ")
    assert (err.count("\n"), err.count("simulator:"), err.count("Errno")) == (1, 0, 0)
    return err.removeprefix("edge: ").rstrip("\n")


def test_its_robot_toml_names_the_bundle_that_it_was_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle, folder = tmp_path / 'a "bundle"', tmp_path / "runs" / "sim"
    bundle.mkdir()
    for _ in range(2):  # again, it is not in its own way
        with running("--dir", str(folder), "--bundle", str(bundle)) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == f"ready {folder}\n"
            process.terminate()
            assert process.wait(20) == 0
    robot = config.load(folder / "robot.toml")
    assert (folder / robot.policy.bundle).resolve() == bundle
    kept = (folder / "robot.toml").read_text()
    said = refused(capsys, "--dir", str(folder), "--bundle", str(tmp_path))
    assert said == f'{folder}/robot.toml: is there already: write bundle = "../.." into it, or remove it'
    assert (folder / "robot.toml").read_text() == kept


def test_without_a_bundle_it_is_the_one_beside_it(tmp_path: Path) -> None:
    assert sim_arm.robot(tmp_path).policy.bundle == str(tmp_path / "bundle")


def test_a_folder_that_leaves_no_room_for_a_socket(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100)
    said = refused(capsys, "--dir", str(folder))
    longest = folder / "camera-wrist.sock"
    size = len(str(longest))
    assert said.startswith(
        f"{longest}: the path of a socket has at most 107 bytes, this one has {size}: take a shorter"
    )
    assert not folder.exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--dir", "/proc/x"], "/proc/x: No such file or directory"),
        (["--dir", "/proc/x", "--protocol", "feetech"], "/proc/x: No such file or directory"),
        (["--servos", "3"], "--servos goes with --protocol"),
        (["--seed", "0", "--protocol", "feetech"], "--seed goes without --protocol"),
        (["--bundle", ".", "--protocol", "feetech"], "sim: --bundle goes without --protocol"),
    ],
)
def test_what_does_not_go_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, options: list[str], says: str
) -> None:
    where = [] if "--dir" in options else ["--dir", str(tmp_path / "sim")]
    assert refused(capsys, *options, *where).startswith(says)
    assert list(tmp_path.iterdir()) == []


def uncommented(folder: Path, *left_out: str) -> Robot:
    """The simulated arm with what robot.toml shows commented out, but for tables of `left_out`."""
    text = resources.files("drivers.sim").joinpath("robot.toml").read_text(encoding="utf-8")
    head, _, rest = text.partition("# calibration = ")
    parts = [head, *f"# calibration = {rest}".split("\n\n")]
    kept = [part for part in parts if not any(f"# [{name}]" in part for name in left_out)]
    lines = [line for part in kept for line in [*part.splitlines(), ""]]
    code = ("# calibration =", "# [", "# name =", "# kind =", "# device =", "# input =", "# port =", "# joints =")
    shown = (
        line.removeprefix("# ") if line.startswith((*code, "# axes =", "#   {", "# ]")) else line for line in lines
    )
    folder.mkdir()
    (folder / "arm.urdf").write_bytes(resources.files("drivers.sim").joinpath("arm.urdf").read_bytes())
    (folder / "robot.toml").write_text("\n".join(shown))
    return config.load(folder / "robot.toml", calibrated=False)


def test_what_its_robot_toml_shows_commented_out_is_good(tmp_path: Path) -> None:
    led = uncommented(tmp_path / "led", "gamepad")
    assert led.calibration == str(tmp_path / "led" / "calibration")
    assert [estop.name for estop in led.estops] == ["red-button"]
    assert led.leader is not None
    assert len(led.leader.joints) == len(led.joints)
    padded = uncommented(tmp_path / "padded", "leader").gamepad
    assert padded is not None
    assert [axis.joint for axis in padded.axes] == ["shoulder_pan", "shoulder_lift"]


def test_its_page_names_every_fault() -> None:
    page = (ROOT / "docs" / "sim.md").read_text(encoding="utf-8")
    assert [fault for fault in FAULTS if f"| `{fault}` |" not in page] == []
