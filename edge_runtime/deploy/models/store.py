"""The bundles of a robot: each in a folder named by its seal, and a link to the one that runs.

`bundles/<12 hex digits of the seal>/` is whole from when it has that name until it loses it: it is received, and
removed, under other names. `bundles/current` is a link that is replaced in one step. Every step is on the disk before
the next one begins, and in an order in which the power may go at any of them: `begin` then finds a whole bundle.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from msgspec.structs import replace

from edge_runtime.bundle import MANIFEST, copy_files, read_manifest
from edge_runtime.config import Robot
from edge_runtime.deploy import places
from edge_runtime.deploy.models import trial
from edge_runtime.deploy.models.room import refuse_full
from edge_runtime.deploy.models.trial import Record, Trial
from edge_runtime.errors import BundleError, ConfigError, one_line
from edge_runtime.files import settle

CURRENT = "current"
SIGNATURE = ".p7s"
"""Beside the folder of a bundle: its manifest's signature, as it was received."""
INCOMING = ".incoming-"
SPENT = "it was started and did not prove itself: the journal, or edge report black-box/FILE.mcap, may say why"
UMASK = 0o002
"""Of every process that changes a store: the service's group, which whoever deploys is in, may write what they made."""
_LOCK = ".lock"
_RECEIVING = ".receiving"
_NAME = re.compile(r"[0-9a-f]{12}")


def name_of(seal: str) -> str:
    """The folder's name of the bundle of that seal."""
    return seal[:12]


class Store:
    """The bundles in `folder`. Any number of processes may have one of these; each step is made by one at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.note = ""
        """What `begin` did that a person should know, in one line."""
        self._begun = ""

    @property
    def current(self) -> Path | None:
        """The bundle that is to run, resolved; None where there is none."""
        name = self.current_name
        return self.path(name) if name else None

    @property
    def current_name(self) -> str:
        """Name of the bundle that is to run, "" where there is none."""
        return self.linked if self.has(self.linked) else ""

    @property
    def record(self) -> Record:
        """What is remembered of bundles, as it is on the disk now."""
        return trial.read(self.folder)

    @property
    def names(self) -> list[str]:
        """The bundles that are there, the newest first."""
        there = [f for f in self.folder.glob("*") if self.has(f.name)]
        return [f.name for f in sorted(there, key=lambda f: f.stat().st_mtime_ns, reverse=True)]

    def all_files(self) -> list[Path]:
        """Everything that is or was to be a bundle here, with signatures; no other file is looked at."""
        bare = {f: f.name.removeprefix(INCOMING).removesuffix(SIGNATURE) for f in self.folder.iterdir()}
        return [f for f, name in bare.items() if _NAME.fullmatch(name)]

    def path(self, name: str) -> Path:
        return self.folder.resolve() / name

    def has(self, name: str) -> bool:
        """Whether a bundle of that name is there: no other folder is ever called so."""
        return bool(_NAME.fullmatch(name)) and (self.folder / name / MANIFEST).is_file()

    def incoming(self, name: str) -> Path:
        """The folder that a bundle is received in."""
        return self.folder / f"{INCOMING}{name}"

    def adopt(self, factory: Path) -> None:
        """Copy the bundle at `factory` in and make it current, where there is none; nothing where `factory` is none.

        `BundleError` where it is damaged, or there is no room for it.
        """
        if self.current_name or not factory.is_dir():
            return
        name = self._brought(factory)
        with self.alone():
            if not self.current_name:
                self._link(name)

    def _brought(self, factory: Path) -> str:
        """Name of a copy of the bundle at `factory`, in here."""
        manifest = read_manifest(factory / MANIFEST)
        incoming = self.incoming(name_of(manifest.seal))
        shutil.rmtree(incoming, ignore_errors=True)
        incoming.mkdir(parents=True)
        refuse_full(self.folder, sum(entry.size for entry in manifest.files.values()))
        copy_files(manifest, factory, incoming)
        return self.place(incoming)

    def insist(self, factory: Path, why: str) -> None:
        """The bundle at `factory` takes the current one's place for good, and nothing of it is on trial: `why`.

        Raises what `adopt` does.
        """
        name = self._brought(factory)
        with self.alone():
            record, before = trial.failed(self.settled(), why), self.linked
            self._link(name)
            self._write(replace(record, failed=trial.remembered(record.failed, before, why)))

    def place(self, incoming: Path) -> str:
        """Let the bundle in `incoming`, a folder in this one, be one of these. Returns its name.

        It must have been checked. `BundleError` where another bundle has its name.
        """
        seal = read_manifest(incoming / MANIFEST).seal
        name = name_of(seal)
        for path in (*sorted(incoming.rglob("*"), reverse=True), incoming):
            settle(path)
        with self.alone():
            if not self.has(name):
                incoming.replace(self.folder / name)
                settle(self.folder)
            elif read_manifest(self.folder / name / MANIFEST).seal != seal:
                raise BundleError(f"{self.folder / name}: is another bundle, by chance of the same name: remove it")
        shutil.rmtree(incoming, ignore_errors=True)
        return name

    def switch(self, name: str) -> None:
        """Put the bundle `name` on trial: it is to run from now on. Nothing happens where it is to run already.

        `BundleError` where it is not there.
        """
        with self.alone():
            self._switch(self.settled(), name)

    def back(self) -> str:
        """Return to the previous bundle and say its name; one on trial has failed then. `BundleError` without one."""
        with self.alone():
            record = self.settled()
            if not self.has(record.previous):
                raise BundleError(f"{self.folder}: there is no previous bundle to go back to")
            if record.trial is not None:
                self._return(record, "a person went back")
            else:
                self._switch(record, record.previous)
            return record.previous

    def begin(self) -> Path:
        """The bundle to run, resolved: for a service that starts, which calls this once.

        One on trial that has had its try has failed: then it is the one before, and `note` says so. `BundleError` where
        there is no bundle.
        """
        with self.alone():
            record = self.settled()
            if self._is_spent(record):
                record = self._return(record, _why(record))
            if record.trial is not None:
                self._write(replace(record, trial=replace(record.trial, begun=True)))
            self._begun = self.current_name
        if not self._begun:
            raise BundleError(f"{self.folder}: there is no bundle on this robot yet: edge deploy BUNDLE USER@ROBOT")
        return self.path(self._begun)

    def signature(self, name: str) -> bytes:
        """That of the manifest of the bundle `name`, empty where it came without one."""
        try:
            return (self.folder / f"{name}{SIGNATURE}").read_bytes()
        except FileNotFoundError:
            return b""

    def blame(self, why: str) -> None:
        """Remember why the bundle that began is about to fail, for whoever asks then; nothing for one not on trial."""
        self._tell(lambda on_trial: replace(on_trial, why=one_line(why)))

    def spare(self) -> None:
        """The bundle that began was asked to end before it could prove itself: its try is still to come.

        Nothing for one that is not on trial, or has failed.
        """
        self._tell(lambda on_trial: replace(on_trial, begun=bool(on_trial.why)))

    def confirm(self) -> None:
        """The bundle that began has proved itself; nothing for one that is not on trial, or not to run any more."""
        self._tell(lambda _: None)

    def refuse(self, name: str, why: str) -> None:
        """Remember why the bundle `name` was never switched to."""
        with self.alone():
            record = self.settled()
            self._write(replace(record, failed=trial.remembered(record.failed, name, one_line(why))))

    @property
    def linked(self) -> str:
        """What the link says, whether it is there or not."""
        try:
            return str((self.folder / CURRENT).readlink())
        except OSError:
            return ""

    def settled(self) -> Record:
        """The record, once what a power cut left half done is done or undone; `note` says it of an unreadable one."""
        self.note = trial.set_aside(self.folder)
        record = self.record
        if record.trial is None or record.trial.name == self.linked:
            return record
        return self._write(trial.failed(record, _why(record)) if record.trial.begun else trial.forgotten(record))

    def _switch(self, record: Record, name: str) -> None:
        if not self.has(name):
            raise BundleError(f"{self.folder}: has no bundle {name}")
        if name == self.current_name:
            return
        if record.trial is not None and name == record.previous:
            self._return(record, "another was deployed in its place")
            return
        self._write(trial.started(record, name, self.current_name or record.previous))
        self._link(name)

    def _is_spent(self, record: Record) -> bool:
        """Whether the current bundle has had its try, or is not there at all."""
        return not self.current_name or (record.trial is not None and record.trial.begun)

    def _return(self, record: Record, why: str) -> Record:
        """Go back to the previous bundle, where that is there."""
        if not self.has(record.previous):
            if record.trial is not None:
                self.note = "the bundle has not proved itself yet, and there is none to go back to"
            return record
        self.note = f"back to the previous bundle {record.previous}: {self.linked}: {why}"
        self._link(record.previous)
        return self._write(trial.failed(record, why))

    def _tell(self, change: Callable[[Trial], Trial | None]) -> None:
        """Change what is remembered of the trial where it is that of the bundle that began."""
        with self.alone():
            record = self.record
            if record.trial is not None and record.trial.name == self._begun == self.current_name:
                self._write(replace(record, trial=change(record.trial)))

    def _write(self, record: Record) -> Record:
        return trial.write(self.folder, record)

    def _link(self, name: str) -> None:
        beside = self.folder / f".{CURRENT}"
        beside.unlink(missing_ok=True)
        beside.symlink_to(name)
        beside.replace(self.folder / CURRENT)
        settle(self.folder)

    @contextmanager
    def receiving(self) -> Iterator[None]:
        """Be the only one who brings a bundle in; `BundleError` where somebody else does."""
        try:
            with self._locked(_RECEIVING, fcntl.LOCK_NB):
                yield
        except BlockingIOError as error:
            raise BundleError(f"{self.folder}: another edge deploy is at work on this robot: wait for it") from error

    def alone(self) -> AbstractContextManager[None]:
        """Be the only one who changes what is current. Nothing in the block takes long."""
        return self._locked(_LOCK)

    @contextmanager
    def _locked(self, name: str, how: int = 0) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.folder / name, os.O_RDONLY | os.O_CREAT, 0o664)  # another user's is read-only for us
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | how)
            yield
        finally:
            os.close(lock)


def store_of(robot: Robot) -> Store:
    """Where the robot's bundles are. `ConfigError` where policy.bundle is no store's link."""
    link = Path(robot.policy.bundle)
    if link.name != CURRENT:
        raise ConfigError(
            f"policy.bundle: is {link}, and a service runs what `edge deploy` made current: name {places.CURRENT}"
        )
    return Store(link.parent)


def running(robot: Robot, bundle: Path) -> Robot:
    """The robot as it is with that bundle."""
    return replace(robot, policy=replace(robot.policy, bundle=str(bundle)))


def _why(record: Record) -> str:
    if record.trial is None:
        return "it is not there any more"
    return record.trial.why or SPENT
