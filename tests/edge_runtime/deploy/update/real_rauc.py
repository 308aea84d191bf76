"""RAUC itself: its service on a bus of its own, with files for partitions, and `rauc` on PATH that talks to it."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.edge_runtime.deploy.update.programs import first, program

_BUS = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path={socket}</listen>
<policy context="default">
<allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
</policy></busconfig>
"""
_ANSWER_S = 10.0


RAUC = shutil.which("rauc")
"""Itself, not the one that `service` puts before it."""


def need() -> str:
    """Where rauc is; the test is skipped, loudly, where it is not."""
    if RAUC is None:
        pytest.skip("no rauc on this machine: apt install rauc")
    return RAUC


@contextmanager
def service(conf: Path, booted: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """RAUC's service for the configuration `conf`, on a machine that runs slot `booted`."""
    rauc, bus = need(), shutil.which("dbus-daemon")
    if bus is None:
        pytest.skip("no dbus-daemon on this machine: apt install dbus-daemon")
    folder = conf.parent
    socket = folder / "bus"
    (folder / "bus.conf").write_text(_BUS.format(socket=socket))
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={socket}")
    program(folder / "bin/rauc", f'#!/bin/sh\nexec {rauc} -c {conf} "$@"\n')
    first(folder / "bin", monkeypatch)
    environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}  # mkfs, tune2fs
    with (folder / "service.log").open("w") as log:
        commands = (
            [bus, f"--config-file={folder / 'bus.conf'}", "--nofork"],
            [rauc, "-c", str(conf), f"--override-boot-slot={booted}", "service"],
        )
        processes: list[subprocess.Popen[bytes]] = []
        try:
            for command, ready in zip(commands, (socket.exists, _answers), strict=True):
                processes.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment))
                _wait(ready, folder / "service.log")
            yield
        finally:
            for process in reversed(processes):
                process.kill()
                process.wait()


def _answers() -> bool:
    return subprocess.run(["rauc", "status"], capture_output=True, check=False).returncode == 0


def _wait(ready: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + _ANSWER_S
    while not ready():
        if time.monotonic() > deadline:
            pytest.fail(f"rauc's service does not start: {log.read_text()}")
        time.sleep(0.02)


def mounts() -> bool:
    """Whether this machine lets us mount an image: RAUC does, with each bundle and slot."""
    return (
        os.geteuid() == 0
        and Path("/dev/loop-control").exists()
        and b"squashfs" in Path("/proc/filesystems").read_bytes()
    )
