"""A whole Debian in a container of systemd-nspawn, booted with systemd as its PID 1 and without a network.

It needs no machined and no D-Bus on the host: commands enter the namespaces of the container's PID 1. The clock is the
host's own (CLOCK_MONOTONIC), so that times of both can be compared.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from benchmarks.boot.results import until
from edge_runtime.errors import EdgeError

TOOLS = {"systemd-nspawn": "systemd-container", "nsenter": "util-linux", "mmdebstrap": "mmdebstrap"}
NSPAWN = (
    "systemd-nspawn",
    "--quiet",
    "--register=no",
    "--keep-unit",
    "--private-network",
    "--machine=edge-robot",
    "--capability=CAP_IPC_LOCK",
)
"""It ends with whoever has started it, however that ends."""
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
UNIFIED = {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
"""The container has cgroups of version 2, as a robot has, where the host still mixes both."""
_NOISE = "Attempted to remove disk file system"
"""What nspawn says of its own folder where the host's /run is on a disk."""
WORDS = 400
"""How much of what a command that fails has printed is shown, characters."""
START_S, STOP_S, COMMAND_S = 20.0, 20.0, 60.0


class Done(NamedTuple):
    """`output`: standard output, then standard error."""

    code: int
    output: str


class Container:
    """`with Container(tree, log) as robot:` it boots; it is shut down with the block. `log` gets its console."""

    def __init__(self, tree: Path, log: Path) -> None:
        self._tree = tree
        self._log = log
        self._leader = 0
        self.began_s = 0.0
        """When it was switched on, in `time.monotonic`."""

    def __enter__(self) -> Container:
        """Switch it on; it goes on booting meanwhile. `EdgeError` or `Wrong` where it does not even begin."""
        self.began_s = time.monotonic()
        with self._log.open("wb") as log:
            command = [*NSPAWN, "--boot", "--console=read-only", f"--directory={self._tree}"]
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **UNIFIED}
            )
        try:
            until(self._has_leader, START_S, lambda: f"no container: {self._last_words()}", poll_s=0.01)
            until(self._answers, START_S, lambda: f"systemd does not answer: {self._last_words()}", poll_s=0.05)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _has_leader(self) -> bool:
        if self._process.poll() is not None:
            raise EdgeError(f"systemd-nspawn has ended: {self._last_words()}")
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        leaders = [int(pid) for pid in children if Path(f"/proc/{pid}/comm").read_text().strip() == "systemd"]
        self._leader = leaders[0] if leaders else 0
        return bool(leaders)

    def _answers(self) -> bool:
        return self.run("systemctl", "show", "--property=Version").code == 0

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "without a word"

    def path(self, inside: Path) -> Path:
        """A file or socket in it, as the host reaches it."""
        return Path(f"/proc/{self._leader}/root") / inside.relative_to("/")

    def run(self, *command: str, user: str = "", limit_s: float = COMMAND_S) -> Done:
        """A command in it, as root or as `user` with that user's groups. It has the container's files and network."""
        become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--"] if user else []
        done = subprocess.run(
            ["nsenter", f"--target={self._leader}", "--all", "--wdns=/", "--", *become, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=limit_s,
            env=ENVIRONMENT,
            check=False,
        )
        return Done(done.returncode, done.stdout.strip())

    def sure(self, *command: str, user: str = "", limit_s: float = COMMAND_S) -> str:
        """The same, for one that has to go well: its output. `EdgeError` with the end of it where it does not."""
        done = self.run(*command, user=user, limit_s=limit_s)
        if done.code:
            raise EdgeError(f"{' '.join(command)}: {(done.output or f'exit code {done.code}')[-WORDS:]}")
        return done.output

    def unit(self, name: str) -> dict[str, str]:
        """What systemd says of one of its units, all of `systemctl show`."""
        return dict(row.split("=", 1) for row in self.sure("systemctl", "show", name).splitlines() if "=" in row)

    def from_here(self, *command: str) -> list[str]:
        """A command line that has the host's files and the container's network: what runs on a laptop beside it."""
        return ["nsenter", f"--target={self._leader}", "--net", "--", *command]


def in_tree(tree: Path, *command: str) -> str:
    """A command in a tree that is not booted, without a network; its output. `EdgeError` where it fails."""
    done = subprocess.run(
        [*NSPAWN, "--pipe", f"--directory={tree}", "--", *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=False,
    )
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines()
        words = [line for line in said if not line.startswith(_NOISE)] or [f"exit code {done.returncode}"]
        raise EdgeError(f"{' '.join(command)}: {words[-1]}")
    return done.stdout
