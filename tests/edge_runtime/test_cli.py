"""`edge`: help that reads as a table of contents; every user's error one line on stderr, exit code 2, no traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from edge_runtime import cli
from edge_runtime.commands import talk
from edge_runtime.control_socket import ControlSocket, refusal
from tests.robot_toml import NAMES, ROBOT

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def robot_toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A robot.toml in the present folder."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "robot.toml"
    path.write_text(ROBOT)
    return path


def one_line(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 2) -> str:
    """What `edge argv` says on stderr: one line, and nothing on stdout."""
    assert cli.main(argv) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("edge: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    return err.removeprefix("edge: ").rstrip("\n")


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"]])
def test_help_is_a_table_of_contents(capsys: pytest.CaptureFixture[str], argv: list[str]) -> None:
    assert cli.main(argv) == 0
    lines = capsys.readouterr().out.splitlines()
    titles = ["Run:", "Talk to a running robot:", "Models:", "Robot:", "Measure:"]
    assert [line for line in lines if line in titles] == titles
    for command in cli.edge.commands:
        assert any(line.startswith(f"  {command} ") for line in lines), command
    assert max(map(len, lines)) <= 80


def test_a_group_alone_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["calibrate"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("Usage: edge calibrate")
    assert len(out.splitlines()) > 5


@pytest.mark.parametrize("command", sorted(cli.edge.commands))
def test_every_command_has_help(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert cli.main([command, "--help"]) == 0
    assert f"Usage: edge {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["rnu"], 'there is no command "rnu", did you mean "run"?'),
        (["safestop"], 'there is no command "safestop", did you mean "safe-stop"?'),
        (["run", "--secnds", "3"], 'run: there is no option "--secnds", did you mean "--seconds"?'),
        (["run", "--seconds", "soon"], "run: invalid value for '--seconds': 'soon' is not"),
        (["run", "--seconds", "0"], "run: invalid value for '--seconds': 0"),
        (["run", "a.toml", "b.toml"], "run: got unexpected extra argument (b.toml)"),
        (["task"], "task: missing argument 'INSTRUCTION'"),
        (["config"], "config: give one of --check FILE and --schema"),
        (["config", "--check", "a", "--schema"], "config: give one of --check FILE and --schema"),
        (["calibrate", "camera", "a"], "calibrate camera: missing argument 'CAMERA' (edge calibrate camera --help)"),
        (["bench"], "bench: give one of ROBOT.TOML"),
        (["--flight"], 'there is no option "--flight"'),
        (["run", "nowhere.toml"], "nowhere.toml: cannot be read: No such file or directory"),
        (["status", "--robot", "nowhere.toml"], "nowhere.toml: cannot be read: No such file or directory"),
        (["inspect", "nowhere"], "nowhere: no such bundle"),
        (["replay-frames", "nowhere", "--bundle", "b", "--map", "base"], "replay-frames: invalid value for --map"),
        (["replay-frames", "nowhere", "--bundle", "b"], "nowhere: no such folder"),
        (
            ["export", "nowhere"],
            "export: say which checkpoint and where the bundle goes: edge export CHECKPOINT -o BUND",
        ),
        (["export", "-o", "b"], "export: say which checkpoint and where the bundle goes"),
        (["verify"], "verify: missing argument 'BUNDLE'"),
        (["verify", "nowhere"], "nowhere: no such bundle"),
        (["infer"], "infer: missing argument 'BUNDLE'"),
        (["infer", "b", "-o", "a"], "infer: missing option '--observation'"),
        (["infer", "b", "--observation", "o"], "infer: missing option '-o' / '--out'"),
        (["infer", "b", "--observation", "o", "-o", "a"], "o: no such file; an observation is a safetensors file"),
        (["infer", "b", "--noize", "3"], 'infer: there is no option "--noize", did you mean "--noise"?'),
    ],
)
def test_what_a_user_gets_wrong_is_one_line(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    argv: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert one_line(capsys, *argv).startswith(says)


def test_nothing_listens_is_one_line(capsys: pytest.CaptureFixture[str], robot_toml: Path) -> None:
    line = one_line(capsys, "status")
    assert "control.sock" in line


@pytest.fixture
def robot_on_the_phone(robot_toml: Path) -> Iterator[list[dict[str, Any]]]:
    """Something that listens at the control socket and takes every command but one; yields what it heard."""
    heard: list[dict[str, Any]] = []

    def answer(request: dict[str, Any]) -> Callable[[], dict[str, Any]]:
        heard.append(request)
        if request["cmd"] == "resume":
            return lambda: refusal("cannot resume in READY: allowed now: task, stop, disarm")
        return lambda: {"ok": True, "state": "READY", "missed": 0, "age_ms": {"frame base": 12.5, "chunk": None}}

    control = ControlSocket(robot_toml.parent / "control.sock", 0o600)
    over = threading.Event()

    def serve() -> None:
        while not over.is_set():
            control.serve(answer, 0.02)

    thread = threading.Thread(target=serve)
    thread.start()
    yield heard
    over.set()
    thread.join()
    control.close()


@pytest.mark.parametrize(
    ("argv", "request_"),
    [
        (["task", "pick up the red cup"], {"cmd": "task", "instruction": "pick up the red cup"}),
        *(([word], {"cmd": word}) for word in ("stop", "arm", "disarm", "reset", "done", "status")),
    ],
)
def test_a_command_reaches_the_robot(
    capsys: pytest.CaptureFixture[str],
    robot_on_the_phone: list[dict[str, Any]],
    argv: list[str],
    request_: dict[str, Any],
) -> None:
    assert cli.main(argv) == 0
    assert robot_on_the_phone == [request_]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(maxsplit=1) for line in lines] == [
        ["state", "READY"],
        ["missed", "0"],
        ["age_ms", "frame base 12.5, chunk –"],
    ]


def test_a_refusal_is_one_line(capsys: pytest.CaptureFixture[str], robot_on_the_phone: list[dict[str, Any]]) -> None:
    assert one_line(capsys, "resume") == "cannot resume in READY: allowed now: task, stop, disarm"


def test_status_for_programs_by_the_sockets_own_path(
    capsys: pytest.CaptureFixture[str], robot_on_the_phone: list[dict[str, Any]], robot_toml: Path
) -> None:
    robot_toml.unlink()
    assert cli.main(["status", "--socket", "control.sock", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["age_ms"] == {"frame base": 12.5, "chunk": None}


def test_config_check_says_what_it_found(capsys: pytest.CaptureFixture[str], robot_toml: Path) -> None:
    assert cli.main(["config", "--check", "robot.toml", "--json", "found.json"]) == 0
    out = capsys.readouterr().out
    first = "robot.toml: good: bench arm, 100 Hz, cameras base, wrist; bus arm (feetech) with 6 joints"
    assert out.splitlines()[0] == first
    assert json.loads(Path("found.json").read_text())["buses"] == {"arm": list(NAMES)}


def test_config_check_names_the_fault(capsys: pytest.CaptureFixture[str], robot_toml: Path) -> None:
    robot_toml.write_text(ROBOT.replace("rate_hz", "rate_khz"))
    line = one_line(capsys, "config", "--check", "robot.toml")
    assert line == 'robot.toml: control.rate_khz: unknown key, did you mean "rate_hz"?'


def test_the_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", "--schema"]) == 0
    assert "Joint" in json.loads(capsys.readouterr().out)["$defs"]


def test_json_to_standard_output_is_nothing_but_json(capsys: pytest.CaptureFixture[str], robot_toml: Path) -> None:
    assert cli.main(["config", "--check", "robot.toml", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["robot"] == "bench arm"


def test_a_place_that_cannot_be_written_is_one_line(capsys: pytest.CaptureFixture[str], robot_toml: Path) -> None:
    assert cli.main(["config", "--check", "robot.toml", "--json", "robot.toml/x.json"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("edge: ")
    assert err.count("\n") == 1


def test_ctrl_c_is_one_line_and_130(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.edge.commands["sim"], "callback", interrupted)
    assert cli.main(["sim"]) == 130
    assert capsys.readouterr().err == "\nedge: interrupted\n"  # after the terminal's own ^C


@pytest.mark.parametrize("library", ["torch", "onnx"])
def test_export_without_its_library_says_what_to_install(tmp_path: Path, library: str) -> None:
    if library != "torch":
        pytest.importorskip("torch")  # which is asked for first
    code = f"import sys; sys.modules[{library!r}] = None; from edge_runtime.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "export", str(tmp_path), "-o", str(tmp_path / "b")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert f"needs \"{library}\", which is not installed: pip install '.[export]' in the checkout" in done.stderr


def test_a_closed_pipe_is_quiet() -> None:
    command = f"{sys.executable} -m edge_runtime config --schema | true"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, check=False)
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("answer", "shown"), [({"a": True, "b": [1, 2]}, "a yes, b 1, 2"), (None, "–"), (1, "1"), (False, "no")]
)
def test_an_answer_reads_as_words(answer: object, shown: str) -> None:
    assert talk._flat(answer) == shown


def test_commands_are_in_one_section_each() -> None:
    listed = [str(command.name) for _, commands in cli.SECTIONS for command in commands]
    assert sorted(listed) == sorted(set(listed)) == sorted(cli.edge.commands)
    assert all(isinstance(c, click.Command) and c.help for c in cli.edge.commands.values())


def test_status_starts_fast(robot_toml: Path) -> None:
    """Import time only: what a stop command costs before it is on the socket. The limit is lax, machines are busy."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-X", "importtime", "-m", "edge_runtime", "status"]
    done = subprocess.run(command, cwd=robot_toml.parent, env=env, capture_output=True, text=True, check=False)
    loaded = [line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")]
    assert "edge_runtime.cli" in loaded
    assert not {"numpy", "torch", "onnxruntime", "cv2", "rich", "serial"} & set(loaded)


def test_a_run_that_does_not_begin_leaves_no_folder_for_its_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "robot.toml").write_text(ROBOT)
    report = tmp_path / "runs" / "report"
    assert cli.main(["run", str(tmp_path / "robot.toml"), "--report", str(report)]) == 2
    assert capsys.readouterr().err.startswith(f"edge: {tmp_path / 'bundle'}: no such bundle")
    assert not (tmp_path / "runs").exists()
    (tmp_path / "full").write_text("")
    assert cli.main(["run", str(tmp_path / "robot.toml"), "--report", str(tmp_path / "full" / "report")]) == 2
    assert capsys.readouterr().err == f"edge: {tmp_path / 'full' / 'report'}: Not a directory\n"
