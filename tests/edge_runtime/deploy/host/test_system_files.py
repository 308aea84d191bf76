"""The files beside the runtime: all there, and taken by the programs that read them where this machine has those."""

from __future__ import annotations

import configparser
import os
import shutil
import stat
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
    rows = [line.split() for line in text.splitlines() if line[0] == "d"]
    assert "/var/lib/edge-runtime/bundles" in {row[1] for row in rows}
    assert {tuple(row[2:5]) for row in rows} == {("2775", "edge", "edge")}


def test_what_the_user_of_another_number_left_becomes_this_systems_users(tmp_path: Path) -> None:
    """As after an update: the other slot's `edge` was 1500, in this one it is 991."""
    program = shutil.which("systemd-tmpfiles")
    if program is None or os.geteuid() != 0:
        pytest.skip("needs systemd-tmpfiles, and root, to give files away in a folder")
    made = system_files.files(robot("serial", tmp_path), DEBIAN, updates=True)
    root = tmp_path / "root"
    texts = {
        "usr/lib/tmpfiles.d/edge.conf": made["/usr/lib/tmpfiles.d/edge-runtime.conf"],
        "etc/passwd": "root:x:0:0::/:/bin/sh\nedge:x:991:990::/:/bin/sh\n",
        "etc/group": "root:x:0:\nedge:x:990:\n",
        "etc/secret": "",
        "var/lib/edge-runtime/bundles/0123/manifest.json": "{}",
    }
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    state = root / "var/lib/edge-runtime"
    (state / "bundles/current").symlink_to("0123")
    (state / "bundles/out").symlink_to("../../../../etc/secret")
    for path in (state, *state.rglob("*")):
        os.chown(path, 1500, 1501, follow_symlinks=False)
    (state / "bundles/0123").chmod(0o2775)
    (state / "bundles/0123/manifest.json").chmod(0o640)
    subprocess.run([program, f"--root={root}", "--create", "edge.conf"], check=True, capture_output=True)
    assert {(p.lstat().st_uid, p.lstat().st_gid) for p in (state, *state.rglob("*"))} == {(991, 990)}
    assert (root / "etc/secret").stat().st_uid == 0
    modes = [stat.S_IMODE((state / name).stat().st_mode) for name in ("bundles/0123", "bundles/0123/manifest.json")]
    assert modes == [0o2775, 0o640]


@pytest.mark.parametrize(
    ("name", "modules"),
    [("serial", ["cdc_acm"]), ("ftdi", ["usbserial"]), ("camera", ["cdc_acm", "videodev"]), ("sim", [])],
)
def test_the_classes_of_devices_that_come_later_are_there_before_the_service(
    name: str, modules: list[str], tmp_path: Path
) -> None:
    text = system_files.files(robot(name, tmp_path), DEBIAN, updates=False)["/usr/lib/modules-load.d/edge-runtime.conf"]
    assert [line for line in text.splitlines() if line[0] != "#"] == modules
