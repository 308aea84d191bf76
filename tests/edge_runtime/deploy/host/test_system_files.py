"""The files beside the runtime: all there, and taken by the programs that read them where this machine has those."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from edge_runtime.deploy import systems
from edge_runtime.deploy.host import cores, system_files
from tests.edge_runtime.deploy.host.robots import robot

DEBIAN = systems.SYSTEMS["debian12-amd64"]


def _options(text: str, section: str) -> dict[str, str]:
    parser = configparser.RawConfigParser(delimiters=("=",), strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    return dict(parser[section])


def test_every_file_is_below_usr_so_that_no_update_asks_about_it(tmp_path: Path) -> None:
    made = system_files.files(robot("serial", tmp_path), DEBIAN, updates=True)
    assert all(path.startswith("/usr/lib/") for path in made)
    assert all(text.endswith("\n") for text in made.values())


def test_updates_add_what_judges_a_system(tmp_path: Path) -> None:
    one = robot("serial", tmp_path)
    without, having = (set(system_files.files(one, DEBIAN, updates=updates)) for updates in (False, True))
    added = {Path(path).name for path in having - without}
    assert added == {
        "edge-runtime-good.path",
        "edge-runtime-good.service",
        "edge-runtime-failed.service",
        "edge-runtime-give-up.service",
        "edge-runtime-trial.timer",
        "edge-runtime-trial.service",
    }
    assert set(system_files.enabled(updates=False)) == {"edge-runtime.service"}
    assert {f"{system_files.UNITS}/{unit}" for unit in system_files.enabled(updates=True)} <= having


def test_what_starts_by_itself_says_where(tmp_path: Path) -> None:
    made = system_files.files(robot("serial", tmp_path), DEBIAN, updates=True)
    for name in system_files.enabled(updates=True):
        assert "WantedBy" in _options(made[f"{system_files.UNITS}/{name}"], "Install")


def test_the_boards_watchdog_and_the_control_threads_core(tmp_path: Path) -> None:
    path = f"{system_files.SYSTEMD}/system.conf.d/edge-runtime.conf"
    plain = system_files.files(robot("serial", tmp_path), DEBIAN, updates=False)[path]
    pinned = system_files.files(robot("core", tmp_path), DEBIAN, updates=False)[path]
    assert _options(plain, "Manager") == {"RuntimeWatchdogSec": "30"}
    assert _options(pinned, "Manager")["CPUAffinity"] == "0-2 4-1023"


@pytest.mark.parametrize(("cpu", "rest"), [(0, "1-1023"), (1, "0 2-1023"), (1022, "0-1021 1023"), (1023, "0-1022")])
def test_all_cores_but_one(cpu: int, rest: str) -> None:
    assert cores.all_but(cpu) == rest


def test_the_kernel_takes_cores_that_the_machine_has_not() -> None:
    """What CPUAffinity= comes to: sched_setaffinity(2)."""
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before), *range(max(before) + 1, cores.LAST + 1)})
        assert os.sched_getaffinity(0) == {min(before)}
    finally:
        os.sched_setaffinity(0, before)


def test_the_journal_outlives_a_power_cut_and_has_an_end(tmp_path: Path) -> None:
    path = f"{system_files.SYSTEMD}/journald.conf.d/edge-runtime.conf"
    found = _options(system_files.files(robot("serial", tmp_path), DEBIAN, updates=False)[path], "Journal")
    assert found["Storage"] == "persistent"
    assert found["SystemMaxUse"] == "500M"


def test_user_and_groups_are_made(tmp_path: Path) -> None:
    program = shutil.which("systemd-sysusers")
    if program is None or os.geteuid() != 0:
        pytest.skip("needs systemd-sysusers, and root, to make users in a folder")
    text = system_files.files(robot("estop", tmp_path), DEBIAN, updates=False)["/usr/lib/sysusers.d/edge-runtime.conf"]
    (tmp_path / "users.conf").write_text(text)
    (tmp_path / "root/etc").mkdir(parents=True)
    words = [program, f"--root={tmp_path / 'root'}", str(tmp_path / "users.conf")]
    subprocess.run(words, check=True, capture_output=True)
    groups = (tmp_path / "root/etc/group").read_text()
    assert [name for name in ("dialout", "gpio", "input", "edge") if f"\n{name}:" not in f"\n{groups}"] == []
    (user,) = (line for line in (tmp_path / "root/etc/passwd").read_text().splitlines() if line.startswith("edge:"))
    assert user.endswith(":/var/lib/edge-runtime:/usr/sbin/nologin")


def test_the_folders_of_the_state_belong_to_the_group(tmp_path: Path) -> None:
    text = system_files.files(robot("serial", tmp_path), DEBIAN, updates=False)["/usr/lib/tmpfiles.d/edge-runtime.conf"]
    rows = [line.split() for line in text.splitlines()]
    assert "/var/lib/edge-runtime/bundles" in {row[1] for row in rows}
    assert {tuple(row[2:5]) for row in rows} == {("2775", "edge", "edge")}
