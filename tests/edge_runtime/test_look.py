"""`edge cameras`: every camera of a robot opened and watched, what is wrong with one said, its frame shown and kept."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from drivers.cameras.base import Frame
from edge_runtime import cli, config, look, preview
from edge_runtime.commands import cameras as command
from tests.robot_toml import ROBOT

SIM = 'kind = "sim"\ndevice = "./camera-{}.sock"\n'
IMAGES = 'kind = "images"\ndevice = "./{}"\nwidth = 8\nheight = 6\nfps = {}\n'


@pytest.fixture
def robot_toml(tmp_path: Path) -> Path:
    """A robot with one camera that shows two pictures in turn and one that shows the same one again and again."""
    pictures = np.zeros((2, 6, 8, 3), np.uint8)
    pictures[:] = 200, 10, 30
    np.save(tmp_path / "still.npy", pictures)
    pictures[1] += 5
    np.save(tmp_path / "moving.npy", pictures)
    text = ROBOT.replace(SIM.format("base"), IMAGES.format("moving.npy?loop", 100))
    path = tmp_path / "robot.toml"
    path.write_text(text.replace(SIM.format("wrist"), IMAGES.format("still.npy?loop", 50)))
    return path


def test_what_is_seen_of_each_camera(robot_toml: Path) -> None:
    moving, still = look.look(config.load(robot_toml).cameras, 0.4)
    assert (moving.error, still.error) == ("", "")
    assert 0 < moving.rate_hz < 110  # fewer on a busy machine
    assert 0 < still.rate_hz < 60
    assert moving.stamp == still.stamp == "device"
    assert min(moving.ages_ns) >= 0
    assert moving.counts["frozen"] == 0
    assert abs(still.counts["frozen"] - still.counts["frames"]) <= 1  # read while they are counted
    assert moving.frame is not None
    assert moving.frame[0, 0].tolist() in ([200, 10, 30], [205, 15, 35])
    summary = moving.summary()
    assert summary["mode"] == {"width": 8, "height": 6, "fps": 100.0, "format": ""}
    assert summary["age_ms"]["p50"] <= summary["age_ms"]["max"]


def test_the_command_in_words_in_json_and_in_files(
    robot_toml: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, folder = tmp_path / "found.json", tmp_path / "seen"
    argv = ["cameras", str(robot_toml), "--seconds", "0.2", "--save", str(folder), "--json", str(found)]
    assert cli.main(argv) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "base  images, 8x6 at 100\n" in out
    assert "of 50 frames/s, stamped by the device\n" in out
    assert "▀" not in out, "no terminal"
    assert f"    {folder / 'wrist.png'}" in out.splitlines()
    rows = json.loads(found.read_text())["cameras"]
    assert [row["name"] for row in rows] == ["base", "wrist"]
    assert rows[1]["file"] == str(folder / "wrist.png")
    assert cv2.imread(rows[1]["file"])[0, 0].tolist() == [30, 10, 200]


def test_in_a_terminal_the_frame_is_shown(
    robot_toml: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_terminal", lambda: True)
    assert cli.main(["cameras", str(robot_toml), "--seconds", "0.1"]) == 0
    assert capsys.readouterr().out.count("▀") == 2 * (8 * 6 // 2)


def test_what_is_wrong_with_one_is_one_line_and_the_others_are_seen(
    robot_toml: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    robot_toml.write_text(robot_toml.read_text().replace("still.npy?loop", "none.npy"))
    assert cli.main(["cameras", str(robot_toml), "--seconds", "0.1"]) == 2
    out, err = capsys.readouterr()
    assert "of 100 frames/s" in out
    assert err == f"edge: camera wrist: {robot_toml.parent}/none.npy: No such file or directory\n"


def test_a_camera_without_frames(robot_toml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "FIRST_FRAME_S", 0.1)
    robot_toml.write_text(robot_toml.read_text().replace("./still.npy?loop", "play"))
    moving, silent = look.look(config.load(robot_toml).cameras, 0.1)
    assert moving.error == ""
    assert silent.error.startswith("camera wrist: ")
    assert "no frame" in silent.error
    assert silent.frame is None
    assert silent.summary()["age_ms"] is None


def test_without_a_robot_it_lists_the_machines_cameras(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from drivers import v4l2
    from drivers.v4l2 import Found, Mode

    modes = (
        *(Mode("MJPG", 640, 480, fps) for fps in (15.0, 30.0)),
        Mode("MJPG", 1280, 720, 30.0),
        Mode("YUYV", 640, 480, 30.0),
        *(Mode(f"NV{number}", 640, 480, 30.0) for number in range(10, 18)),
    )
    stable = "/dev/v4l/by-id/usb-HD_Cam-video-index0"
    monkeypatch.setattr(v4l2, "cameras", lambda: [Found("/dev/video0", stable, "HD Cam", "usb-1", modes)])
    assert cli.main(["cameras"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{stable}  HD Cam, usb-1",
        "    YUYV  640x480 at 30",
        "    MJPG  640x480 at 30, 15; 1280x720 at 30",
        "    and in 8 other pixel formats: NV10, NV11, NV12, NV13, NV14, NV15 …",
    ]
    monkeypatch.setattr(v4l2, "cameras", list)
    assert cli.main(["cameras"]) == 0
    assert capsys.readouterr().out.startswith("no V4L2 camera on this machine: nothing at /dev/video*: is one plugged")
    assert cli.main(["cameras", "--save", "x"]) == 2
    assert capsys.readouterr().err.startswith("edge: cameras: --save needs a robot.toml")


def test_a_preview_has_two_pixels_in_a_character() -> None:
    frame: Frame = np.zeros((4, 2, 3), np.uint8)
    frame[0], frame[1], frame[3, 1] = (1, 2, 3), (4, 5, 6), (7, 8, 9)
    black = "\x1b[38;2;0;0;0;48;2;0;0;0m▀"
    assert preview.half_blocks(frame) == (
        "\x1b[38;2;1;2;3;48;2;4;5;6m▀" * 2 + "\x1b[0m\n" + black + "\x1b[38;2;0;0;0;48;2;7;8;9m▀\x1b[0m"
    )
    assert preview.half_blocks(np.zeros((480, 640, 3), np.uint8)).count("▀") == 64 * 24
