"""`edge deploy` as a person runs it: real rsync and openssl, an `ssh` that runs the command in a folder next door."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_runtime import cli
from edge_runtime.bundle import open_bundle
from edge_runtime.deploy.models.reach import Reach
from edge_runtime.deploy.models.store import Store
from edge_runtime.deploy.update.keygen import keygen
from edge_runtime.errors import CommandError
from tests.conftest import ROOT
from tests.edge_runtime.deploy.service.test_service import another, robot_toml
from tests.edge_runtime.engines import onnx_bundle

MISSING = [tool for tool in ("rsync", "openssl") if shutil.which(tool) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed here: {' '.join(MISSING)}")

HOST = "edge@robot"
SSH = """#!/bin/sh
user=
while :; do case "$1" in
    -l) user="$2@"; shift 2;;
    -o) shift 2;;
    *) break;;
esac; done
test "$user$1" = edge@robot || { echo "ssh: Could not resolve hostname $1: Name or service not known" >&2; exit 255; }
shift
cd / && exec sh -c "$*"
"""
CUT = """#!/bin/sh
test "$1" = --server && exec {rsync} "$@"
printf "step.onnx\\0" | {rsync} "$@"
echo broken pipe >&2
exit 12
"""
EDGE = """#!/bin/sh
export PYTHONPATH={root} OMP_NUM_THREADS=1
exec {python} -m edge_runtime "$@" --config {robot}/robot.toml --trust {robot}/keys/cert.pem
"""


class Robot:
    """What ssh leads to: a store, a robot.toml, and somebody who plays the service."""

    def __init__(self, folder: Path, bundle: Path) -> None:
        self.folder = folder
        folder.mkdir()
        robot_toml(folder)
        self.key, _ = keygen(folder / "keys")
        self.store = Store(folder / "bundles")
        self.store.folder.mkdir()
        self.store.folder.chmod(0o2775)
        self.store.adopt(bundle)
        self.first = self.store.current_name
        self._over = threading.Event()
        self._service: threading.Thread | None = None

    def serve(self, why: str = "") -> None:
        """Play a service that changes over to the next bundle and proves it, or fails for the reason `why`."""
        self._service = threading.Thread(target=self._serve, args=(why,))
        self._service.start()

    def _serve(self, why: str) -> None:
        while self.store.record.trial is None:
            if self._over.wait(0.02):
                return
        service = Store(self.store.folder)
        service.begin()
        if why:
            service.blame(why)
            service.begin()
        else:
            service.confirm()

    def close(self) -> None:
        self._over.set()
        if self._service is not None:
            self._service.join()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return onnx_bundle.bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def robot(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Robot]:
    made = Robot(tmp_path / "robot", bundle)
    tools = tmp_path / "bin"
    tools.mkdir()
    texts = {"ssh": SSH, "edge": EDGE.format(root=ROOT, python=sys.executable, robot=made.folder)}
    for name, text in texts.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    yield made
    made.close()


def deploy(*words: str | Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, Any, str]:
    """Exit code, what it says for programs, and its errors."""
    code = cli.main(["deploy", *map(str, words), "--json", "-"])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out else None, err


def test_a_bundle_is_deployed_listed_and_taken_back(
    robot: Robot, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = another(bundle, tmp_path / "new")
    (new / "engines").mkdir()
    (new / "engines" / "of-a-workstation.engine").write_bytes(b"e")
    (robot.store.folder / robot.first / "image.onnx").write_bytes(b"rot")  # so that there is something to copy
    name = open_bundle(new).manifest.seal[:12]
    robot.serve()
    code, said, err = deploy(new, HOST, "--key", robot.key, capsys=capsys)
    assert (code, err) == (0, "")
    assert said == {"robot": HOST, "is": "outcome", "bundle": name, "state": "kept", "why": ""}
    there = robot.store.folder / name
    open_bundle(there)
    assert not (there / "engines" / "of-a-workstation.engine").exists(), "engines are made where they run"
    assert stat.S_IMODE((there / "image.onnx").stat().st_mode) == 0o664, "the service may, too"
    assert stat.S_IMODE(there.stat().st_mode) & 0o775 == 0o775

    _, listed, _ = deploy("--list", HOST, capsys=capsys)
    assert (listed["current"], listed["previous"], listed["on_trial"]) == (name, robot.first, False)
    code, taken, _ = deploy("--back", HOST, capsys=capsys)
    assert (code, taken["current"], taken["previous"]) == (0, robot.first, name)
    assert cli.main(["deploy", "--list", HOST]) == 0
    assert "current, on trial: not started yet" in capsys.readouterr().out


def test_one_that_fails_its_first_cycles_comes_back_and_that_is_exit_code_1(
    robot: Robot, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = another(bundle, tmp_path / "new")
    robot.serve(why="ticks are 30 ms late")
    words = ["deploy", str(new), "--key", str(robot.key)]
    assert cli.main([*words, "--config", str(robot.folder / "robot.toml")]) == 1, (
        "without a host, this machine is the robot"
    )
    out = capsys.readouterr().out
    assert out.startswith("this machine: ")
    assert out.endswith("the one before is back: ticks are 30 ms late\n")
    assert robot.store.current_name == robot.first


def test_what_the_robot_says_against_it_is_one_line_here(
    robot: Robot, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, _ = keygen(tmp_path / "foreign")
    code, _, err = deploy(bundle, HOST, "--key", key, capsys=capsys)
    assert code == 2
    assert err.startswith(f"edge: {HOST}: the bundle is signed by a key that ")
    code, _, err = deploy("--back", HOST, capsys=capsys)
    assert code == 2
    assert err == f"edge: {HOST}: {robot.store.folder}: there is no previous bundle to go back to\n"
    code, _, err = deploy(bundle, "elsewhere", "--key", key, capsys=capsys)
    assert code == 2
    assert err == "edge: elsewhere: ssh: Could not resolve hostname elsewhere: Name or service not known\n"


def test_a_copy_that_ends_early_is_resumed(
    robot: Robot, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = another(bundle, tmp_path / "new")
    for name in ("image.onnx", "step.onnx"):
        (robot.store.folder / robot.first / name).write_bytes(b"rot")
    rsync = tmp_path / "bin" / "rsync"
    rsync.write_text(CUT.format(rsync=shutil.which("rsync")))
    rsync.chmod(0o755)
    code, _, err = deploy(new, HOST, "--key", robot.key, capsys=capsys)
    assert (code, err) == (2, f"edge: {HOST}: the copy ended early: broken pipe; deploy again to resume it\n")
    name = open_bundle(new).manifest.seal[:12]
    copied = robot.store.incoming(name) / "step.onnx"
    before = copied.stat().st_ino
    rsync.unlink()
    robot.serve()
    code, _, _ = deploy(new, HOST, "--key", robot.key, capsys=capsys)
    assert code == 0
    assert (robot.store.folder / name / "step.onnx").stat().st_ino == before, "it was not copied again"


def test_ctrl_c_while_the_trial_goes_on_only_ends_the_waiting(robot: Robot, bundle: Path, tmp_path: Path) -> None:
    new = another(bundle, tmp_path / "new")
    command = [sys.executable, "-m", "edge_runtime", "deploy", str(new), HOST, "--key", str(robot.key)]
    sender = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end_s = time.monotonic() + 30
    while robot.store.record.trial is None:
        assert sender.poll() is None, sender.stderr and sender.stderr.read()
        assert time.monotonic() < end_s
        time.sleep(0.02)
    time.sleep(0.3)  # until it has heard so
    sender.send_signal(signal.SIGINT)
    out, err = sender.communicate(timeout=20)
    assert (sender.returncode, err) == (1, "")
    assert "on trial: nobody waits for it any more; edge deploy --list" in out
    with robot.store.receiving():
        assert robot.store.record.trial is not None


@pytest.mark.parametrize("words", [("bundle",), ("--list",), ("--back",)])
def test_a_computer_that_is_no_robot_says_so(
    words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "robot.toml"
    assert cli.main(["deploy", *words, "--config", str(file)]) == 2
    no_robot = f"this computer is no robot (no {file}): name one, edge deploy BUNDLE USER@HOST"
    assert capsys.readouterr().err == f"edge: {no_robot}\n"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("ann@arm-1", "bundle"), "ann@arm-1: is no bundle here: the bundle comes first, then the robot"),
        (("arm-1", "bundle"), "arm-1: is no bundle here: the bundle comes first, then the robot"),
        (("file", HOST), "file: is a file, and a bundle is a folder"),
        (("x.raucb", HOST), "x.raucb: is a system update: edge update install x.raucb, on the robot"),
    ],
)
def test_what_is_named_in_a_bundles_place(
    words: tuple[str, ...],
    why: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bundle").mkdir()
    Path("file").touch()
    monkeypatch.setattr("edge_runtime.deploy.tools.need", lambda *_programs: None)
    assert cli.main(["deploy", *words]) == 2
    assert capsys.readouterr().err.startswith(f"edge: {why}")


@pytest.mark.parametrize("host", ["-oProxyCommand=touch /tmp/x", "a b", "host:/etc", "user@-x", "a;b", "@host"])
def test_what_is_no_host_never_reaches_ssh(host: str) -> None:
    with pytest.raises(CommandError, match="name it as ssh takes it"):
        Reach(host)


@pytest.mark.parametrize(
    ("words", "why"),
    [((), "say which bundle"), (("--list", "a", "b"), "takes the robot"), (("--list", "--back"), "one at a time")],
)
def test_words_that_do_not_go_together(words: tuple[str, ...], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["deploy", *words]) == 2
    assert why in capsys.readouterr().err
