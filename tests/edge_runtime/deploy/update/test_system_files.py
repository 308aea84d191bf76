"""What a robot with two slots gets: RAUC and systemd read it, and it holds together."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge_runtime.deploy import places
from edge_runtime.deploy.systems import SYSTEMS, System
from edge_runtime.deploy.update import layout, system_files, units
from tests.edge_runtime.deploy.update import real_rauc

EVERY = pytest.mark.parametrize("system", SYSTEMS.values(), ids=str)
KEYS_OF_RAUC_1_5 = {
    "system": {"compatible", "bootloader", "grubenv", "statusfile", "mountprefix", "bundle-formats"},
    "keyring": {"path", "use-bundle-signing-time"},
    "handlers": {"pre-install", "bootloader-custom-backend"},
    "slot": {"device", "type", "resize", "bootname"},
}
"""Of those that RAUC 1.5.1 knows (src/config_file.c), the ones that are used: it refuses a file with any other."""


def conf(system: System) -> configparser.ConfigParser:
    read = configparser.ConfigParser(interpolation=None)
    read.read_string(system_files.system_conf(system))
    return read


@EVERY
def test_an_old_rauc_reads_it_too(system: System) -> None:
    read = conf(system)
    for section in read.sections():
        assert set(read[section]) <= KEYS_OF_RAUC_1_5[section.partition(".")[0]]


@EVERY
def test_it_names_this_robots_trust_and_its_two_slots(system: System) -> None:
    read = conf(system)
    assert read["system"]["compatible"] == f"edge-runtime {system.name}"
    assert read["keyring"]["path"] == str(places.TRUST)
    slots = [read[name] for name in read.sections() if name.startswith("slot.")]
    labels = ["APP", "APP_b"] if system.jetpack else ["edge-a", "edge-b"]
    assert [slot["device"] for slot in slots] == [f"/dev/disk/by-partlabel/{label}" for label in labels]
    assert [slot["bootname"] for slot in slots] == ["A", "B"]


@EVERY
def test_every_handler_comes_along_and_can_be_run(system: System) -> None:
    made = system_files.files(system)
    for path in conf(system)["handlers"].values():
        assert made[path].startswith("#!")
    assert "edge_runtime.deploy.update.before_install" in made[str(layout.BEFORE_INSTALL)]
    assert str(places.PYTHON) in made[str(layout.BEFORE_INSTALL)]


@EVERY
def test_nothing_that_must_outlive_an_update_is_in_a_slot(system: System) -> None:
    read = conf(system)
    kept = [read["system"]["statusfile"], read["system"].get("grubenv", "/data"), str(layout.TRIAL), str(layout.LAST)]
    mounted = [layout.DATA, layout.ESP]
    assert all(any(Path(path).is_relative_to(place) for place in mounted) for path in kept)


@EVERY
def test_systemd_finds_nothing_to_say(system: System, tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("no systemd-analyze on this machine: apt install systemd")
    paths = []
    for place, text in system_files.files(system).items():
        if Path(place).parent == system_files.UNITS:
            paths.append(tmp_path / Path(place).name)
            paths[-1].write_text(text.replace(str(places.EDGE), "/bin/true"))
    done = subprocess.run([analyze, "verify", *map(str, paths)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@EVERY
def test_every_unit_that_judges_a_system_is_there_and_asked_for(system: System) -> None:
    made = system_files.files(system)
    wanted = made[str(places.UNITS / "multi-user.target.d/edge-runtime.conf")].partition("Wants=")[2].split()
    assert wanted == ["edge-runtime-proven.service", "edge-runtime-good.path", "edge-runtime-trial.timer"]
    begun = [units.FAILED, units.GIVE_UP, *(name.replace(".path", ".service") for name in wanted)]
    begun = [name.replace(".timer", ".service") for name in begun]
    assert {str(places.UNITS / name) for name in (*wanted, *begun)} <= set(made)
    assert not any("[Install]" in text for text in made.values()), "one way to begin, that nothing switches off"


def test_a_good_system_that_cannot_be_marked_is_tried_a_few_times_seconds_apart() -> None:
    """The path that starts it is still there when it has failed: without limits systemd starts it for ever."""
    made = system_files.files(SYSTEMS["debian12-amd64"])
    read = configparser.RawConfigParser()
    read.read_string(made[str(places.UNITS / units.GOOD)])
    tries, apart_s = int(read["Unit"]["StartLimitBurst"]), int(read["Service"]["RestartSec"])
    assert (read["Service"]["Restart"], read["Service"]["RemainAfterExit"]) == ("on-failure", "yes")
    assert apart_s >= 5
    longest_try_s = 3 * 60  # as many calls of rauc, each with its own limit
    assert read["Unit"]["StartLimitIntervalSec"] == "1h"
    assert tries * (apart_s + longest_try_s) < 3600, "or the limit is never reached"
    assert f"RequiresMountsFor={layout.RECORDS}" in made[str(places.UNITS / units.GOOD_PATH)].splitlines()


@EVERY
def test_mounts_have_the_names_that_systemd_wants(system: System) -> None:
    escape = shutil.which("systemd-escape")
    if escape is None:
        pytest.skip("no systemd-escape on this machine: apt install systemd")
    made = system_files.files(system)
    mounts = [place for place in made if place.endswith(".mount")]
    assert mounts
    for place in mounts:
        where = next(line.removeprefix("Where=") for line in made[place].splitlines() if line.startswith("Where="))
        command = [escape, "--path", "--suffix=mount", where]
        name = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        assert Path(place).name == name
        assert name in made[str(system_files.UNITS / "local-fs.target.d/edge-runtime.conf")]


def test_nvidias_own_confirmation_leaves_a_slot_on_trial_alone() -> None:
    made = system_files.files(SYSTEMS["jetpack6-orin"])
    (unit,) = [text for place, text in made.items() if "nv-l4t-bootloader-config.service.d" in place]
    assert f"ConditionPathExists=!{layout.TRIAL}" in unit.splitlines()
    assert f"RequiresMountsFor={layout.RECORDS}" in unit.splitlines()


def test_rauc_starts_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With partitions, keyring and environment of a test, and nothing else changed."""
    text = system_files.system_conf(SYSTEMS["debian12-amd64"])
    for place in ("/dev/disk/by-partlabel", "/boot/efi/EFI/BOOT", "/data/rauc", "/etc/edge-runtime"):
        text = text.replace(place, str(tmp_path))
    (tmp_path / "system.conf").write_text(text)
    if shutil.which("grub-editenv") is None:
        pytest.skip("no grub-editenv on this machine: apt install grub-common")
    environment = tmp_path / "grubenv"
    subprocess.run(["grub-editenv", environment, "create"], check=True)
    subprocess.run(
        ["grub-editenv", environment, "set", "ORDER=A B", "A_OK=1", "A_TRY=1", "B_OK=1", "B_TRY=0"], check=True
    )
    with real_rauc.service(tmp_path / "system.conf", "A", monkeypatch):
        said = subprocess.run(["rauc", "status"], capture_output=True, text=True, check=True).stdout
        assert "edge-runtime debian12-amd64" in said


@pytest.mark.skipif(sys.platform != "linux", reason="RAUC is for Linux")
@pytest.mark.parametrize("name", ["accounts.sh", "give-up.sh", "hook.sh", "nvboot.sh"])
def test_the_scripts_are_such_as_any_shell_reads(name: str) -> None:
    shell = shutil.which("dash") or "/bin/sh"
    done = subprocess.run([shell, "-n"], input=system_files.text(name), text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_grub_reads_its_configuration(tmp_path: Path) -> None:
    check = shutil.which("grub-script-check")
    if check is None:
        pytest.skip("no grub-script-check on this machine: apt install grub-common")
    (tmp_path / "grub.cfg").write_text(system_files.text("grub.cfg"))
    done = subprocess.run([check, tmp_path / "grub.cfg"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert os.fspath(layout.GRUB_CONFIG) in system_files.files(SYSTEMS["debian12-arm64"])
