"""`edge update install`, its handler and its hook, with RAUC itself where this machine lets it mount images.

The bundle's form is RAUC's plain one here: the verity form that robots take needs the kernel's device mapper, which
`make boot-test-ab` has.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge_runtime.deploy.update import before_install, build, install, keygen, record, system_files
from edge_runtime.errors import EdgeError, UpdateError
from tests.edge_runtime.deploy.update import real_rauc
from tests.edge_runtime.deploy.update.programs import first, program
from tests.edge_runtime.deploy.update.systems_made import DEBIAN, JETSON, archive, rootfs
from tests.imports import ROOT

_CONF = """\
[system]
compatible=edge-runtime debian12-amd64
bootloader=grub
grubenv={folder}/grubenv
statusfile={folder}/slots.raucs
mountprefix={folder}/mnt
bundle-formats=plain
[keyring]
path={folder}/keys/cert.pem
use-bundle-signing-time=true
[handlers]
pre-install={folder}/before-install
[slot.rootfs.0]
device={folder}/a
type=ext4
bootname=A
[slot.rootfs.1]
device={folder}/b
type=ext4
bootname=B
"""
_HANDLER = """\
#!{python}
import os, sys
from pathlib import Path
sys.path.insert(0, {source!r})
from edge_runtime.deploy.update import before_install
sys.exit(before_install.main(root=Path({root!r})))
"""
FOR = f"[update]\ncompatible=edge-runtime {DEBIAN.name}"
VALUES = ("ORDER=A B", "A_OK=1", "A_TRY=0", "B_OK=1", "B_TRY=0")


@dataclass(frozen=True)
class Machine:
    """A robot that runs slot A, version 1.5; partitions are files in `folder`."""

    folder: Path
    root: Path

    def environment(self) -> dict[str, str]:
        said = subprocess.run(
            ["grub-editenv", self.folder / "grubenv", "list"], capture_output=True, text=True, check=True
        )
        return dict(line.split("=", 1) for line in said.stdout.splitlines())

    def bundle(self, version: str, keys: str = "keys", system: str = DEBIAN.name) -> Path:
        """A plain one."""
        content = self.folder / f"content-{version}-{keys}"
        content.mkdir()
        archive(rootfs(self.folder / f"rootfs-{version}-{keys}"), content / "rootfs.tar")
        build._fill(content, "rootfs.tar", DEBIAN, version)
        manifest = content / "manifest.raucm"
        manifest.write_text(manifest.read_text().replace("verity", "plain").replace(DEBIAN.name, system))
        out, signer = self.folder / f"{version}-{keys}.raucb", self.folder / keys
        signed = (f"--cert={signer / 'cert.pem'}", f"--key={signer / 'key.pem'}")
        subprocess.run([real_rauc.need(), *signed, "bundle", content, out], capture_output=True, check=True)
        return out

    def in_slot(self, name: str) -> str:
        command = ["debugfs", "-R", f"cat /{name}", self.folder / "b"]
        path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
        return subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": path}).stdout


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    if not real_rauc.mounts() or shutil.which("grub-editenv") is None:
        pytest.skip("not root, or no loop devices, squashfs or grub-editenv: rauc cannot install here")
    root = tmp_path / "root"
    for path, text in (
        ("etc/rauc/system.conf", ""),
        ("etc/edge-runtime/system-version", "1.5\n"),
        ("proc/sys/kernel/random/boot_id", "boot-1\n"),
    ):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    for name in "ab":
        with (tmp_path / name).open("wb") as file:
            file.truncate(16 << 20)
    subprocess.run(["grub-editenv", tmp_path / "grubenv", "create"], check=True)
    subprocess.run(["grub-editenv", tmp_path / "grubenv", "set", *VALUES], check=True)
    keygen.keygen(tmp_path / "keys")
    keygen.keygen(tmp_path / "foreign")
    program(tmp_path / "before-install", _HANDLER.format(python=sys.executable, source=str(ROOT), root=str(root)))
    (tmp_path / "system.conf").write_text(_CONF.format(folder=tmp_path))
    with real_rauc.service(tmp_path / "system.conf", "A", monkeypatch):
        yield Machine(tmp_path, root)


def test_a_newer_system_is_next_and_on_trial(machine: Machine) -> None:
    said: list[tuple[str, float]] = []
    done = install.install(machine.bundle("1.10"), lambda what, part: said.append((what, part)), machine.root)
    assert done == {"version": "1.10", "slot": "B", "running": "A", "before": "1.5"}
    assert len(install.text(done).splitlines()) == 1
    assert said[-1][1] == 1.0
    assert machine.environment() == {"ORDER": "B A", "A_OK": "1", "A_TRY": "0", "B_OK": "1", "B_TRY": "0"}
    assert machine.in_slot("etc/edge-runtime/system-version") == "1.10\n"
    assert machine.in_slot("etc/machine-id") == Path("/etc/machine-id").read_text()
    trial = record.on_trial(machine.root)
    assert trial is not None
    assert (trial.slot, trial.version, trial.boot) == ("B", "1.10", "boot-1")


def test_nothing_is_installed_while_the_slot_that_runs_is_on_trial(machine: Machine) -> None:
    record.begin(machine.root, "A", "1.5")
    bundle = machine.bundle("1.6")
    with pytest.raises(UpdateError, match="slot A is on trial itself"):
        install.install(bundle, root=machine.root)
    assert subprocess.run(["rauc", "install", bundle], capture_output=True, check=False).returncode != 0
    assert machine.environment() == dict(value.split("=") for value in VALUES)
    assert (machine.folder / "b").read_bytes() == bytes(16 << 20)


def untouched(machine: Machine) -> None:
    assert machine.environment() == dict(value.split("=") for value in VALUES)
    assert (machine.folder / "b").read_bytes() == bytes(16 << 20)
    assert record.on_trial(machine.root) is None


@pytest.mark.parametrize(
    ("version", "keys", "system", "message"),
    [
        ("1.4", "keys", DEBIAN.name, r"version 1\.4 is older than 1\.5, which runs"),
        ("1.6", "foreign", DEBIAN.name, "signature verification failed: Verify error: self-signed certificate"),
        (
            "1.6",
            "keys",
            "jetpack6-orin",
            'is for "edge-runtime jetpack6-orin"; this robot is "edge-runtime debian12-amd64"',
        ),
    ],
)
def test_what_is_not_to_be_installed_touches_nothing(
    version: str, keys: str, system: str, message: str, machine: Machine
) -> None:
    bundle = machine.bundle(version, keys, system)
    with pytest.raises(EdgeError, match=message):
        install.install(bundle, root=machine.root)
    untouched(machine)
    assert subprocess.run(["rauc", "install", bundle], capture_output=True, check=False).returncode != 0
    untouched(machine)


def test_a_tampered_bundle_touches_nothing(machine: Machine) -> None:
    bundle = machine.bundle("1.6")
    content = bytearray(bundle.read_bytes())
    content[300] ^= 1
    bundle.write_bytes(content)
    with pytest.raises(EdgeError):
        install.install(bundle, root=machine.root)
    untouched(machine)


def test_it_says_where_the_reason_is_that_rauc_does_not_pass_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "LastError: Pre-install handler error: Child process exited with code 1"
    program(tmp_path / "bin/rauc", f"#!/bin/sh\necho '{said}'\nexit 1\n")
    first(tmp_path / "bin", monkeypatch)
    with pytest.raises(UpdateError, match=r"^x\.raucb: Pre-install .* with code 1 \(journalctl -u rauc says more\)$"):
        install._write(Path("x.raucb"), lambda _what, _part: None)


def test_it_is_for_root_and_for_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UpdateError, match="only root writes system slots: sudo edge update install"):
        install.install(tmp_path / "x.raucb", root=tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("edge_runtime.deploy.tools.found", lambda _program: "/usr/bin/rauc")
    with pytest.raises(UpdateError, match="there is no such file"):
        install.install(tmp_path / "x.raucb", root=tmp_path)
    (tmp_path / "x.raucb").touch()
    with pytest.raises(UpdateError, match="this machine has one system slot"):
        install.install(tmp_path / "x.raucb", root=tmp_path)


def mounted(folder: Path, version: str = "1.6") -> dict[str, str]:
    """What RAUC tells its handler."""
    bundle = folder / "bundle"
    bundle.mkdir()
    (bundle / "manifest.raucm").write_text(build.manifest("rootfs.tar", DEBIAN, version))
    (bundle / "rootfs.tar").write_bytes(bytes(3 << 20))
    (folder / "system.conf").write_text(system_files.system_conf(DEBIAN))
    boot = folder / "proc/sys/kernel/random/boot_id"
    boot.parent.mkdir(parents=True)
    boot.write_text("boot-1\n")
    return {
        "RAUC_BUNDLE_MOUNT_POINT": str(bundle),
        "RAUC_SYSTEM_CONFIG": str(folder / "system.conf"),
        "RAUC_CURRENT_BOOTNAME": "A",
        "RAUC_TARGET_SLOTS": "2",
        "RAUC_SLOT_BOOTNAME_1": "A",
        "RAUC_SLOT_BOOTNAME_2": "B",
    }


def test_the_handler_puts_the_trial_on_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "etc/edge-runtime").mkdir(parents=True)
    (tmp_path / "etc/edge-runtime/system-version").write_text("1.5\n")
    before_install.check(mounted(tmp_path), tmp_path)
    assert record.on_trial(tmp_path) == record.Trial("B", "1.6", "boot-1")
    assert capsys.readouterr().err == ""


def test_a_system_that_nobody_gave_a_version_takes_any_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before_install.check(mounted(tmp_path, "0.1"), tmp_path)
    assert record.on_trial(tmp_path) == record.Trial("B", "0.1", "boot-1")
    assert capsys.readouterr().err == (
        "/etc/edge-runtime/system-version: not there, so nothing says how old the running system is: "
        "any version is taken\n"
    )
    words = install.text({"version": "0.1", "slot": "B", "running": "A", "before": None})
    assert words.splitlines()[1:] == [before_install.UNKNOWN]


def test_the_handler_refuses_another_robots_system(tmp_path: Path) -> None:
    """RAUC itself looks only after its handler, when the trial would be on record."""
    environment = mounted(tmp_path)
    (tmp_path / "system.conf").write_text(system_files.system_conf(JETSON))
    with pytest.raises(
        UpdateError, match='is for "edge-runtime debian12-amd64"; this robot is "edge-runtime jetpack6-orin"'
    ):
        before_install.check(environment, tmp_path)
    assert record.on_trial(tmp_path) is None


def test_a_system_on_trial_keeps_what_it_would_go_back_to(tmp_path: Path) -> None:
    environment = mounted(tmp_path)
    record.begin(tmp_path, "A", "1.5")
    with pytest.raises(UpdateError, match=r"slot A is on trial itself \(version 1\.5\)"):
        before_install.check(environment, tmp_path)
    assert record.on_trial(tmp_path) == record.Trial("A", "1.5", "boot-1")


def test_an_update_that_waits_for_its_reboot_may_be_replaced(tmp_path: Path) -> None:
    environment = mounted(tmp_path, "1.7")
    record.begin(tmp_path, "B", "1.6")
    before_install.check(environment, tmp_path)
    assert record.on_trial(tmp_path) == record.Trial("B", "1.7", "boot-1")


@pytest.mark.parametrize("slots", ["1", "1 2", ""])
def test_the_handler_lets_only_the_free_slot_be_written(slots: str, tmp_path: Path) -> None:
    with pytest.raises(UpdateError, match="not for the one that is free"):
        before_install.check({**mounted(tmp_path), "RAUC_TARGET_SLOTS": slots}, tmp_path)
    assert record.on_trial(tmp_path) is None


@pytest.mark.parametrize(
    "manifest", ["", "[update]\n", "[update\nversion=1", f"{FOR}\n", f"{FOR}\nversion=new\n", "\xff"]
)
def test_the_handler_refuses_what_names_no_version(manifest: str, tmp_path: Path) -> None:
    environment = mounted(tmp_path)
    (tmp_path / "bundle/manifest.raucm").write_bytes(manifest.encode("latin-1"))
    (tmp_path / "etc/edge-runtime").mkdir(parents=True)
    (tmp_path / "etc/edge-runtime/system-version").write_text("1.5\n")
    with pytest.raises(UpdateError, match=r"says no (version|compatible)|one to four numbers"):
        before_install.check(environment, tmp_path)
    assert record.on_trial(tmp_path) is None


def test_a_block_that_cannot_be_read_costs_no_slot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = mounted(tmp_path)
    opened = Path.open

    def damaged(path: Path, *words: object, **options: object) -> object:
        if path.name == "rootfs.tar":
            raise OSError(5, "Input/output error", str(path))  # as the device mapper answers
        return opened(path, *words, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", damaged)
    with pytest.raises(UpdateError, match=r"rootfs\.tar: the bundle is damaged: Input/output error"):
        before_install.check(environment, tmp_path)
    assert record.on_trial(tmp_path) is None


def test_rauc_and_the_journal_hear_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in mounted(tmp_path, "none").items():
        monkeypatch.setenv(name, value)
    assert before_install.main(root=tmp_path) == 1
    said = capsys.readouterr()
    assert said.err.startswith('edge update: version "none": one to four numbers')
    assert said.out.startswith('<< error edge update: version "none"')
    assert len(said.err.splitlines()) == len(said.out.splitlines()) == 1
