"""A Debian 12 root file system, made by mmdebstrap from the distribution's packages."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from edge_runtime.errors import EdgeError

RELEASE = "bookworm"
PACKAGES = ("dbus", "kmod", "procps", "python3", "systemd-sysv", "udev")
"""What every image has: systemd as PID 1 and the system's Python, which the package runs on."""
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*")
MAKE_S = 600.0


class Skip(Exception):
    """This machine cannot make this test at all: one line that says what it lacks."""


@contextmanager
def workshop(kept: Path | None = None) -> Iterator[Path]:
    """A folder to build in, gone afterwards: in $TMPDIR, or in memory, as images are many small files.

    `kept` is one that stays, with the images in it, for another run.
    """
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept.resolve()
        return
    memory = Path("/dev/shm")
    within = None if "TMPDIR" in os.environ or not os.access(memory, os.W_OK) else memory
    with tempfile.TemporaryDirectory(prefix="edge-boot-", dir=within) as folder:
        Path(folder).chmod(0o755)  # apt fetches as a user of its own
        yield Path(folder)


def need(tools: Mapping[str, str]) -> None:
    """Raises `Skip` where a program is not there; `tools` says for each which Debian package has it."""
    lacking = {package for tool, package in tools.items() if shutil.which(tool) is None}
    if lacking:
        raise Skip(f"tools are missing: apt-get install {' '.join(sorted(lacking))}")


def need_root() -> None:
    """Raises `Skip` for anybody else: file systems have owners, and containers are root's."""
    if os.geteuid() != 0:
        raise Skip("it takes root: run it as root")


def root(arch: str, packages: Iterable[str], folder: Path, initrd: bool = True) -> Path:
    """A tar of Debian 12 for `arch`, as dpkg names it, with `PACKAGES` and these; made once in `folder`.

    Without `initrd` a kernel among them makes none: its hook hangs where programs of `arch` are emulated.
    Raises `Skip` where Debian's archive does not answer.
    """
    wanted = sorted({*PACKAGES, *packages})
    tar = folder / f"{RELEASE}-{arch}-{hashlib.sha256(' '.join(wanted).encode()).hexdigest()[:8]}.tar"
    if tar.exists():
        return tar
    beside = folder / f"{tar.stem}.part.tar"
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--architectures={arch}", f"--include={','.join(wanted)}"]
    command += [f"--dpkgopt=path-exclude={path}" for path in LEFT_OUT]
    environment = {**os.environ, "TMPDIR": str(folder), "LC_ALL": "C.UTF-8"}
    if not initrd:
        environment["INITRD"] = "No"  # initramfs-tools' hook of the kernel's package
    done = subprocess.run(
        [*command, RELEASE, str(beside)], capture_output=True, text=True, timeout=MAKE_S, env=environment, check=False
    )
    if done.returncode:
        last = [line for line in done.stderr.splitlines() if "failed to run" not in line][-1:]
        if last and "apt-get update" in last[0]:
            raise Skip("Debian's archive does not answer")
        raise EdgeError(f"no Debian image: mmdebstrap: {last[0] if last else f'exit code {done.returncode}'}")
    return beside.rename(tar)


def unpack(tar: Path, folder: Path) -> Path:
    """The tree in that tar as the new folder `folder`, with its owners. Takes root."""
    folder.mkdir()
    subprocess.run(["tar", "--extract", "--numeric-owner", f"--file={tar}", f"--directory={folder}"], check=True)
    return folder
