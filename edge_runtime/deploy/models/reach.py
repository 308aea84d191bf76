"""How to reach a robot: over ssh, or not at all where it is this machine."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.errors import CommandError

SSH = ("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=15")
"""Nobody is asked anything, and a robot that has gone is noticed: after three answers that did not come (ssh_config(5):
ServerAliveCountMax)."""
_HOST = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]*@)?[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Reach:
    """`host`: an ssh destination (`user@host`, or a name of ~/.ssh/config); "" for this machine."""

    host: str = ""

    def __post_init__(self) -> None:
        if self.host and not _HOST.fullmatch(self.host):
            raise CommandError(f'robot "{self.host}": name it as ssh takes it: USER@HOST, or a name in ~/.ssh/config')

    @property
    def title(self) -> str:
        return self.host or "this machine"

    def edge(self, *words: str) -> list[str]:
        """The command line that runs `edge` there."""
        command = ["edge", *words]
        return [*SSH, self.host, shlex.join(command)] if self.host else command

    def rsync(self, source: Path, folder: str) -> list[str]:
        """The command line that copies files of the folder `source` into `folder` there, their names on its input.

        What was copied before is not copied again, of a file that was cut short only the rest. Whoever's umask it is,
        the service's group may write: it builds engines beside these files.
        """
        where = f"{self.host}:{folder}/" if self.host else f"{folder}/"
        keep = ("--times", "--omit-dir-times", "--perms", "--chmod=D2775,F664", f"--partial-dir={PARTIAL}")
        over = (
            ("--secluded-args", "--timeout=60", "--rsync-path=nice rsync", "-e", shlex.join(SSH)) if self.host else ()
        )
        names = ("--from0", "--files-from=-")
        return ["rsync", *keep, *over, *names, "--info=progress2", "--", f"{source}/", where]


PARTIAL = ".partial"
"""Folder of what was cut short, beside where it goes."""
