"""GRUB for a machine with UEFI: what is on its system partition, as `docs/robot.md` tells a person to lay it there."""

from __future__ import annotations

import subprocess
from pathlib import Path

from benchmarks.boot.image import Skip
from edge_runtime.errors import EdgeError, one_line

FIRMWARE = Path("/usr/share/OVMF")
_MODULES = Path("/usr/lib/grub/x86_64-efi")
_BUILT_IN = ("part_gpt", "fat", "ext2", "normal", "linux", "loadenv", "regexp", "test", "echo", "sleep", "reboot")
"""Nothing is loaded from the disk but the configuration."""
_FOLDER = "EFI/BOOT"
_FIRST = ("ORDER=A B", "A_OK=1", "A_TRY=0", "B_OK=0", "B_TRY=0")
"""The variables that RAUC reads: slot A is filled, slot B is not."""


def need() -> None:
    """Raises `Skip` where GRUB's modules or the firmware of the virtual machine are not here."""
    for path, package in ((_MODULES, "grub-efi-amd64-bin"), (FIRMWARE / "OVMF_CODE_4M.fd", "ovmf")):
        if not path.exists():
            raise Skip(f"{path} is missing: apt-get install {package}")


def system_partition(config: str, scratch: Path) -> dict[str, bytes]:
    """Path → content, with `config` as grub.cfg."""
    program, environment = scratch / "BOOTX64.EFI", scratch / "grubenv"
    _run("grub-mkimage", "-O", "x86_64-efi", "-p", f"/{_FOLDER}", "-o", str(program), *_BUILT_IN)
    _run("grub-editenv", str(environment), "create")
    _run("grub-editenv", str(environment), "set", *_FIRST)
    return {
        f"{_FOLDER}/{program.name}": program.read_bytes(),
        f"{_FOLDER}/{environment.name}": environment.read_bytes(),
        f"{_FOLDER}/grub.cfg": config.encode(),
    }


def _run(*command: str) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise EdgeError(f"{command[0]}: {one_line(result.stderr)}")
