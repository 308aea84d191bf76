"""An installed robot is judged as its service, by root; anybody else is told so, and given no advice that does harm."""

from __future__ import annotations

import os
import pwd
import resource
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from edge_runtime.cli import main
from edge_runtime.config import Robot, load
from edge_runtime.deploy import places
from edge_runtime.doctor import disk, examine, service
from edge_runtime.errors import EdgeError
from tests.edge_runtime.doctor.machine import Machine
from tests.edge_runtime.sim_arm import robot as sim_arm

RTPRIO = resource.getrlimit(resource.RLIMIT_RTPRIO)[1]
SAID = (
    f"LimitMEMLOCK={resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]}\n"
    f"LimitNICE={resource.getrlimit(resource.RLIMIT_NICE)[1]}\nLimitRTPRIO={RTPRIO}\n"
    "User=nobody\nSupplementaryGroups=dialout video\n"
).replace("=-1\n", "=infinity\n")
"""What systemctl 252 shows of a service, in its own order; limits that this process may give itself."""


def installed(folder: Path) -> Robot:
    """The simulated arm as a package would bring it."""
    sim_arm(folder)
    file = folder / "robot.toml"
    file.write_text(file.read_text().replace('bundle = "', f'bundle = "{places.BUNDLES}/', 1))
    return load(file)


def test_only_what_a_package_has_brought_is_judged_as_a_service(tmp_path: Path) -> None:
    assert service.installed(installed(tmp_path))
    sim_arm(tmp_path)
    assert not service.installed(load(tmp_path / "robot.toml"))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_root_stands_in_for_the_service_and_is_root_again(tmp_path: Path) -> None:
    nobody, private = pwd.getpwnam("nobody"), tmp_path / "private"
    private.mkdir(mode=0o700)
    before = os.getgroups(), resource.getrlimit(resource.RLIMIT_RTPRIO)
    with suppress(KeyError), service.stood_in_for(Machine(tmp_path, {}, {"systemctl": SAID})):
        assert os.getresuid()[:2] == (nobody.pw_uid, nobody.pw_uid)
        assert os.getresgid()[:2] == (nobody.pw_gid, nobody.pw_gid)
        assert len(os.getgroups()) == 3
        assert resource.getrlimit(resource.RLIMIT_RTPRIO) == (RTPRIO, RTPRIO)
        assert not os.access(private, os.W_OK)
        raise KeyError
    assert (os.getresuid(), os.getresgid()) == ((0, 0, 0), (0, 0, 0))
    assert (os.getgroups(), resource.getrlimit(resource.RLIMIT_RTPRIO)) == before
    assert os.access(private, os.W_OK)


@pytest.mark.parametrize("said", [{}, {"systemctl": SAID.replace("nobody", "")}])
def test_a_service_that_is_not_there(tmp_path: Path, said: dict[str, str]) -> None:
    with pytest.raises(EdgeError, match="not known here"), service.stood_in_for(Machine(tmp_path, {}, said)):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_where_no_limit_can_be_raised_that_is_one_line_of_the_screen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(kind: int, limit: tuple[int, int]) -> None:
        if limit == (77, 77):
            raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(service.resource, "setrlimit", refused)
    said = SAID.replace(f"LimitRTPRIO={RTPRIO}", "LimitRTPRIO=77")
    installed(tmp_path)
    groups = examine.examine(tmp_path / "robot.toml", Machine(tmp_path, {}, {"systemctl": said}), Path("/nowhere"))
    limited = groups[0].checks[1]
    assert (limited.name, limited.level) == ("service's limits", "warn")
    assert "nor could the service" in limited.found
    assert {"kernel", "disk", "policy"} <= {group.name for group in groups}
    assert os.getresuid() == (0, 0, 0)


def test_who_is_not_root_sees_the_machine_and_who_must_look_at_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    installed(tmp_path)
    host = Machine(tmp_path, {"/var/lib/edge-runtime/x": ""})
    groups = examine.examine(tmp_path / "robot.toml", host, Path("/nowhere"))
    assert [group.name for group in groups] == ["robot", "kernel", "power", "disk"]
    assert groups[0].checks[1].remedy == "sudo edge doctor"
    assert not any(check.name.startswith(("SCHED_FIFO", "memory")) for check in groups[1].checks)
    (free,) = groups[3].checks
    assert free.found.startswith(f"{tmp_path}/var/lib/edge-runtime: ")


def test_who_is_not_in_the_group_is_told_so_and_sees_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def denying(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Path, *words: Any, **how: Any) -> Any:
            if path == places.ROBOT:
                raise PermissionError(13, "Permission denied", str(path))
            return method(path, *words, **how)

        return call

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("edge_runtime.commands.doctor.robot_here", lambda: str(places.ROBOT))
    monkeypatch.setattr(Path, "stat", denying(Path.stat))
    monkeypatch.setattr(Path, "read_bytes", denying(Path.read_bytes))
    assert main(["doctor"]) == 2
    said = capsys.readouterr().out
    assert "Permission denied: only members of the group edge may command this robot" in said
    assert "\nkernel" in said


def test_a_folder_of_the_services_is_mended_by_what_made_it(tmp_path: Path) -> None:
    robot = installed(tmp_path)
    for place in places.WRITTEN:
        (tmp_path / str(place)[1:]).mkdir(parents=True, exist_ok=True)
    (tmp_path / "var/lib/edge-runtime/reports").rmdir()
    missing, free = disk.of_service(robot, Machine(tmp_path, {}), judged=True)
    assert (missing.name, missing.level) == ("reports", "bad")
    assert missing.remedy == "sudo systemd-tmpfiles --create edge-runtime.conf"
    assert "h of recording" in free.found


def test_a_present_folder_that_is_gone_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    monkeypatch.setenv("PWD", str(gone))
    gone.rmdir()
    assert main(["doctor"]) == 2
    assert f"{gone}: no such folder" in capsys.readouterr().out
