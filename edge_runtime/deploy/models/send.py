"""`edge deploy BUNDLE ROBOT`, the workstation's end: check, sign, offer, copy, and wait for what the robot says."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO

from edge_runtime.bundle import MANIFEST, Bundle, open_bundle
from edge_runtime.deploy import tools
from edge_runtime.deploy.models import messages
from edge_runtime.deploy.models.messages import Copied, M, Offer, Outcome, Step, Switched, Wanted
from edge_runtime.deploy.models.reach import Reach
from edge_runtime.deploy.models.signature import sign
from edge_runtime.deploy.models.store import name_of
from edge_runtime.errors import CommandError, one_line

Tell = Callable[[str, float], None]
"""Called with what is being done, and the part of that which is done."""
RECEIVE = ("deploy", "--receive")
UNWATCHED = "nobody waits for it any more; edge deploy --list says how it came out"
_PERCENT = re.compile(rb"(\d+)%")
_END_S = 10.0
"""So long the other end may take to end once it is no longer needed."""


def deploy(path: Path, reach: Reach, key: Path, certificate: Path, tell: Tell) -> Outcome:
    """Hand the bundle at `path` to a robot, and say what became of it.

    Raises `BundleError` for one that is damaged or cannot be signed, and `CommandError` where the robot is not reached,
    or takes it not: with its own words. What runs there goes on running then. Ctrl-C before the bundle is current
    leaves everything as it was, and afterwards only ends the waiting: the outcome is "open".
    """
    tools.need("rsync", *(["ssh"] if reach.host else []))
    tell("check", 0.0)
    bundle = open_bundle(path)
    manifest = (path / MANIFEST).read_bytes()
    signature = sign(path / MANIFEST, key, certificate)
    with Robot(reach) as robot:
        robot.put(Offer(manifest, signature))
        wanted = robot.get(Wanted)
        _copy(bundle, wanted, reach, tell)
        robot.put(Copied())
        return _followed(robot, name_of(bundle.manifest.seal), tell)


def _followed(robot: Robot, name: str, tell: Tell) -> Outcome:
    """What the robot says while it works, to the end."""
    switched = False
    try:
        while True:
            message = robot.get(Step, Switched, Outcome)
            if isinstance(message, Outcome):
                return message
            switched = switched or isinstance(message, Switched)
            if isinstance(message, Step):
                tell(message.what, message.part)
    except KeyboardInterrupt:
        if not switched:
            raise
        return Outcome(name, "open", UNWATCHED)


def _copy(bundle: Bundle, wanted: Wanted, reach: Reach, tell: Tell) -> None:
    """Copy what the robot lacks, and nothing that is not the bundle's."""
    strange = set(wanted.files) - set(bundle.manifest.files)
    if strange:
        raise CommandError(f"{reach.title}: asks for {one_line(min(strange))}, which is no file of {bundle.path}")
    if not wanted.files:
        return
    command = reach.rsync(bundle.path, wanted.folder)
    with tempfile.TemporaryFile() as names, tempfile.TemporaryFile() as said:
        names.write(b"\0".join(name.encode() for name in wanted.files))
        names.seek(0)
        with subprocess.Popen(command, stdin=names, stdout=subprocess.PIPE, stderr=said) as rsync:
            assert rsync.stdout is not None
            while block := rsync.stdout.read1(4096):  # type: ignore[attr-defined]
                for percent in _PERCENT.findall(block)[-1:]:
                    tell("copy", int(percent) / 100)
        if rsync.returncode != 0:
            raise CommandError(f"{reach.title}: the copy ended early: {_first_words(said)}; deploy again to resume it")


class Robot:
    """The robot's end of a deployment, as a process here. In a block, at whose end it is told to end as well."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    def __enter__(self) -> Robot:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115: closed in __exit__
        try:
            self._process = subprocess.Popen(
                self._reach.edge(*RECEIVE),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                start_new_session=True,  # a Ctrl-C in the terminal is ours alone
            )
        except FileNotFoundError as error:
            self._said.close()
            raise CommandError(f"this computer has no command {error.filename}: install the package on it") from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        return self

    def put(self, message: Offer | Copied) -> None:
        """Tell it; an end that is gone is noticed when the answer is read."""
        with suppress(BrokenPipeError):
            messages.put(self._in, message)

    def get(self, *kinds: type[M]) -> M:
        """Its next message; `CommandError` with its words where it gave up."""
        line = self._out.readline(messages.MOST_BYTES)
        if not line:
            self._process.wait()
            raise CommandError(f"{self._reach.title}: {_last_words(self._said) or 'ended without a word'}")
        return messages.get(line, *kinds)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for pipe in (self._in, self._out):
            with suppress(BrokenPipeError):
                pipe.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._said.close()


def _lines(said: IO[bytes]) -> list[str]:
    said.seek(0)
    return [line.strip() for line in said.read().decode(errors="replace").splitlines() if line.strip()]


def _last_words(said: IO[bytes]) -> str:
    return one_line(_lines(said)[-1]).removeprefix("edge: ") if _lines(said) else ""


def _first_words(said: IO[bytes]) -> str:
    return one_line(_lines(said)[0]) if _lines(said) else "rsync does not say why"
