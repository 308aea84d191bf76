"""`edge update`: what people and programs read, and one line for what they can mend."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from edge_runtime.cli import main
from edge_runtime.deploy.update import keygen, record, status
from edge_runtime.errors import UpdateError
from tests.edge_runtime.deploy.update import programs
from tests.edge_runtime.deploy.update.programs import Robot


@pytest.fixture
def robot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Robot:
    return programs.robot(tmp_path, monkeypatch)


@pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl on this machine: apt install openssl")
def test_keygen_says_where_and_what(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["update", "keygen", str(tmp_path), "--json", str(tmp_path / "said.json")]) == 0
    fingerprint = keygen.fingerprint(tmp_path / "cert.pem")
    assert f"cert.pem: sha256 {fingerprint}" in capsys.readouterr().out
    assert json.loads((tmp_path / "said.json").read_text())["sha256"] == fingerprint
    assert main(["update", "keygen", str(tmp_path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl on this machine: apt install openssl")
def test_the_status_in_words_and_for_programs(robot: Robot) -> None:
    certificate = robot.root / "etc/edge-runtime/trust.pem"
    keygen.keygen(robot.root / "keys")
    certificate.parent.mkdir(parents=True)
    certificate.write_bytes((robot.root / "keys/cert.pem").read_bytes())
    (certificate.parent / "system-version").write_text("1.2\n")
    robot.set("A", tried=0, version="1.2")
    robot.set("B", version="1.3")
    record.begin(robot.root, "B", "1.3")
    found = status.facts(robot.root)
    assert (found["booted"], found["primary"], found["version"]) == ("A", "A", "1.2")
    assert found["trial"] == {"slot": "B", "version": "1.3", "boot": "boot-1"}
    lines = status.text(found).splitlines()
    assert lines[0] == "edge-runtime debian12-amd64, version 1.2"
    assert lines[1].split() == ["slot", "A", "1.2", "good", "runs,", "starts", "next", "/dev/A"]
    assert lines[2].split() == ["slot", "B", "1.3", "good", "/dev/B"]
    assert lines[3] == "on trial: version 1.3 in slot B"
    assert lines[4].endswith(keygen.fingerprint(certificate))
    trial = record.on_trial(robot.root)
    assert trial is not None
    record.end(robot.root, trial, good=False, why="it did not start")
    assert "last update: version 1.3 was given up: it did not start" in status.text(status.facts(robot.root))


def test_a_robot_that_trusts_nobody_says_so(robot: Robot) -> None:
    assert status.text(status.facts(robot.root)).endswith("sha256 - (not there: none are taken)")


@pytest.mark.parametrize(
    "said", ["", "{", "[]", "{}", '{"slots": 3}', '{"slots": [{"a": {}}], "compatible": ""}', "null"]
)
def test_a_rauc_that_is_not_understood_is_one_line(said: str, robot: Robot) -> None:
    programs.program(robot.state.parent / "bin/rauc", f"#!/bin/sh\necho '{said}'\n")
    with pytest.raises(UpdateError, match="rauc status: says what is not understood here"):
        status.facts(robot.root)


@pytest.mark.parametrize(
    "words", [["status"], ["good", "--unless-trial"], ["failed"], ["failed", "--unless-healthy"]], ids=str
)
def test_without_rauc_it_says_what_to_install(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("edge_runtime.deploy.tools.found", lambda _program: None)
    assert main(["update", *words]) == 2
    assert capsys.readouterr().err == "edge: rauc: not installed here: apt-get install rauc\n"


def test_a_wrong_name_has_a_nearest_right_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["update", "build", "--target", "debian12-amd46", "--rootfs", ".", "--version", "1", "-o", "x"]) == 2
    assert "did you mean" in capsys.readouterr().err.lower()
