"""From a package to a Jetson's disk: checks, the package in the root file system, and NVIDIA's own commands.

Source of the commands: NVIDIA's Jetson Linux Developer Guide 36.4 ("Flashing Support", "Skipping oem-config"), 38.4
("Flashing Support for Jetson Thor") and tools/kernel_flash/README_initrd_flash.txt, workflow 4 (ROOTFS_AB).
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edge_runtime.deploy.flash import deb_file, overlay
from edge_runtime.deploy.flash.deb_file import RUNTIME, DebFile
from edge_runtime.deploy.flash.l4t import CHIPS, Tree
from edge_runtime.deploy.systems import System
from edge_runtime.deploy.update.layout import DATA_LABEL
from edge_runtime.errors import EdgeError

PASSWORD = "$PASSWORD"
"""Stands for the password in a command: it is never printed."""
_USER = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62})")
_CREATE_USER = "tools/l4t_create_default_user.sh"
_INITRD_FLASH = "tools/kernel_flash/l4t_initrd_flash.sh"
_QSPI = "bootloader/generic/cfg/flash_t234_qspi.xml"
_UNPACK = "it comes with NVIDIA's Jetson Linux"


@dataclass(frozen=True)
class Order:
    """What is to be flashed. `storage`: "nvme", or "internal" for what the board itself has.

    `ab`: two system slots. `layout`: a partition layout in the place of NVIDIA's.
    """

    tree: Path
    board: str
    packages: tuple[Path, ...]
    user: str
    hostname: str
    storage: str = "nvme"
    ab: bool = False
    layout: Path | None = None
    accept_license: bool = False


@dataclass(frozen=True)
class Command:
    """One of NVIDIA's, to be run in the tree, by root."""

    words: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def needs_password(self) -> bool:
        return PASSWORD in self.words

    def __str__(self) -> str:
        """As a person types it in a shell."""
        settings = [f"{key}={shlex.quote(value)}" for key, value in self.environment.items()]
        words = [f'"{word}"' if word == PASSWORD else shlex.quote(word) for word in self.words]
        return " ".join(["sudo", *settings, *words])


@dataclass(frozen=True)
class Flash:
    """What was laid into the root file system, and what is to be run then."""

    tree: Path
    laid: tuple[Path, ...]
    commands: tuple[Command, ...]


def prepare(order: Order) -> Flash:
    """Check everything, and lay the packages into the root file system.

    Raises `EdgeError`, one line, for whatever does not fit; nothing is written then.
    """
    tree = Tree(order.tree)
    packages = [deb_file.read(path) for path in order.packages]
    runtime, system = _runtime(packages)
    _check_names(order)
    tree.check(system, order.board)
    _check_packages(tree, packages)
    commands = tuple(_commands(order, tree, system))
    _check_slots(order, tree, runtime, commands)
    return Flash(order.tree, overlay.lay(tree.rootfs, packages, order.user), commands)


def execute(flash: Flash, password: str) -> None:
    """Run NVIDIA's commands, one after another. Raises `EdgeError` where one fails.

    The password is an argument of NVIDIA's script while that runs: whoever is on this machine then could see it.
    """
    for command in flash.commands:
        words = [password if word == PASSWORD else word for word in command.words]
        done = subprocess.run(words, cwd=flash.tree, env={**os.environ, **command.environment}, check=False)
        if done.returncode:
            raise EdgeError(f"{command.words[0]} ended with exit code {done.returncode}: what it said is above")


def need_root() -> None:
    """Raises `EdgeError` where NVIDIA's tools could do nothing."""
    if os.geteuid() != 0:
        raise EdgeError("--execute: NVIDIA's tools need root: run this with sudo")


def need_terminal(order: Order) -> None:
    """Raises `EdgeError` where the user's password is to be asked for, and nobody can type it."""
    if not Tree(order.tree).has_user(order.user) and not _has_terminal():
        raise EdgeError(f"--execute: asks for {order.user}'s password, and there is no terminal: run this in one")


def _has_terminal() -> bool:
    """Whether there is one that a password is typed at without being shown."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _runtime(packages: Sequence[DebFile]) -> tuple[DebFile, System]:
    """The one package among all that is ours."""
    found = [package for package in packages if package.name == RUNTIME]
    if len(found) != 1:
        raise EdgeError(f"--package: one of them must be {RUNTIME}, as edge package makes it, and {len(found)} are")
    if found[0].system is None:
        raise EdgeError(f"{found[0].path}: does not say what it is for: make it with edge package")
    return found[0], found[0].system


def _check_names(order: Order) -> None:
    if not _USER.fullmatch(order.user):
        raise EdgeError(f'--user: "{order.user}" is no name of a user: small letters, digits, "_" and "-"')
    if order.user == "root":
        raise EdgeError("--user: root is there already: name whoever will log in, such as ann")
    if not _HOST.fullmatch(order.hostname):
        raise EdgeError(f'--hostname: "{order.hostname}" is no name of a computer: small letters, digits and "-"')


def _check_packages(tree: Tree, packages: Sequence[DebFile]) -> None:
    """All can be installed there, and without a network."""
    there = tree.installed().union(*(package.gives for package in packages))
    for package in packages:
        if package.arch not in ("arm64", "all"):
            raise EdgeError(f"{package.path}: is for {package.arch}, and a Jetson is arm64")
        for need in package.needs:
            if not any(one.serves(other) for one in there for other in need):
                wanted = " or ".join(map(str, need))
                raise EdgeError(f"{package.path}: needs {wanted}, which rootfs has not: give it as another --package")


def _check_slots(order: Order, tree: Tree, runtime: DebFile, commands: Sequence[Command]) -> None:
    if not runtime.updates:
        return
    if not order.ab:
        raise EdgeError(f"{runtime.path}: was made with --updates, which needs two system slots: add --ab")
    words = commands[-1].words
    layout = tree.path / words[words.index("-c") + 1] if "-c" in words else None
    if layout is None or f'name="{DATA_LABEL}"' not in layout.read_text(errors="replace"):
        raise EdgeError(
            f"{layout or order.storage}: has no partition {DATA_LABEL}, which both slots share: "
            "give a layout that has one with --layout FILE"
        )


def _commands(order: Order, tree: Tree, system: System) -> Iterator[Command]:
    thor = CHIPS[system.name] == "264"
    if not tree.applied:
        yield Command(("./apply_binaries.sh", *(["--openrm"] if thor else [])))
    if not tree.has_user(order.user):
        tree.need(_CREATE_USER, _UNPACK)
        words = (f"./{_CREATE_USER}", "-u", order.user, "-p", PASSWORD, "-n", order.hostname)
        yield Command((*words, *(["--accept-license"] if order.accept_license else [])))
    yield _flash(order, tree, thor=thor)


def _flash(order: Order, tree: Tree, *, thor: bool) -> Command:
    """Thor's boards name their disk themselves, unless it has two system slots or a layout of one's own."""
    script = _INITRD_FLASH
    if thor and (tree.path / Path(_INITRD_FLASH).name).is_file():
        script = Path(_INITRD_FLASH).name
    tree.need(script, _UNPACK)
    words = [f"./{script}"]
    if order.storage == "nvme" and (not thor or order.ab or order.layout):
        words += ["--external-device", "nvme0n1p1", "-c", _layout(order, tree, "264" if thor else "234")]
        words += [] if thor else ["-p", f"-c {tree.need(_QSPI, _UNPACK)}"]
    elif order.layout:
        words += ["-c", str(order.layout.resolve())]
    rootdev = "external" if order.ab and order.storage == "nvme" else "internal"
    words += ["--showlogs", "--network", "usb0", order.board, rootdev]
    return Command(tuple(words), {"ROOTFS_AB": "1"} if order.ab else {})


def _layout(order: Order, tree: Tree, chip: str) -> str:
    if order.layout:
        if not order.layout.is_file():
            raise EdgeError(f"--layout: {order.layout}: there is no such file")
        return str(order.layout.resolve())
    if order.ab:
        return tree.need(f"tools/kernel_flash/flash_l4t_t{chip}_nvme_rootfs_ab.xml", _UNPACK)
    name = "flash_l4t_external.xml" if chip == "234" else f"flash_l4t_t{chip}_nvme.xml"
    return tree.need(f"tools/kernel_flash/{name}", _UNPACK)
