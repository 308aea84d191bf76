"""`edge serve`: the robot as a service, from the bundle that is to run to the report of the run.

Nothing is connected, and systemd is not told READY, before the bundle was found as it was signed and sealed, has an
engine for this machine where it needs one, and has answered its probes. Whatever fails is one line and the end:
systemd starts the service anew, a bundle on trial has had its try then, and after some starts in vain the robot stays
SAFE.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from drivers.errors import DriverError
from edge_runtime import app, config, config_parts, signals
from edge_runtime.apart import apart
from edge_runtime.bundle import open_bundle
from edge_runtime.config import Robot
from edge_runtime.deploy import places
from edge_runtime.deploy.models.store import Store, running, store_of
from edge_runtime.deploy.service import vouched
from edge_runtime.deploy.service.companion import ANOTHER, Companion, tried
from edge_runtime.deploy.service.first_build import build_engines
from edge_runtime.deploy.service.latch import Latch
from edge_runtime.deploy.service.notify import Notifier
from edge_runtime.deploy.service.reports import Reports
from edge_runtime.deploy.service.seed import seed_calibration
from edge_runtime.deploy.service.self_test import SelfTest, proven_policy
from edge_runtime.errors import BundleError
from edge_runtime.policies.base import Policy
from edge_runtime.record import RunRecord

READ_BYTES_S = 20e6
"""Slowest that a bundle is read, hashed and loaded: an old SD card. A start may take so long; one that hangs ends."""
WORK_S = 120.0
"""Longest that the rest of a phase of the start may take: an answer to a probe, connecting, the first frames."""
AGAIN_S = 2.0
"""Between two tries to connect what did not answer."""

_log = logging.getLogger("edge_runtime")


@dataclass(frozen=True)
class Service:
    """One start. `state` and `run` are where it keeps reports and says that it is healthy; `factory` and
    `calibration` came in the package, and are adopted; `trust` is the certificate that signs every other bundle."""

    file: Path
    notifier: Notifier
    state: Path = places.STATE
    run: Path = places.RUN
    factory: Path = places.FACTORY
    calibration: Path = places.PACKAGED_CALIBRATION
    trust: Path = places.TRUST

    @classmethod
    def of(cls, file: Path, environment: Mapping[str, str] = os.environ) -> Service:
        """As systemd has set it up: StateDirectory=, RuntimeDirectory=, Type=notify (systemd.exec(5))."""
        state = environment.get("STATE_DIRECTORY", "").partition(":")[0] or places.STATE
        run = environment.get("RUNTIME_DIRECTORY", "").partition(":")[0] or places.RUN
        return cls(file, Notifier.of(environment), Path(state), Path(run))

    def serve(self) -> None:
        """Run the robot until it is told to end or another bundle is to run. Raises `EdgeError` and `DriverError`."""
        try:
            self._serve()
        finally:
            self.notifier.stopping()
            self.notifier.close()

    def _serve(self) -> None:
        (self.run / places.HEALTHY.name).unlink(missing_ok=True)
        latch = Latch(self.state / places.LATCH.name)
        latch.look()
        self._seed()
        robot = config.load(self.file)
        store = store_of(robot)
        self._phase(f"bundle: looking in {store.folder}", self.factory)
        store.adopt(self.factory)
        try:
            self._try(robot, store, latch)
        except Exception as error:
            store.blame(str(error))
            raise

    def _try(self, robot: Robot, store: Store, latch: Latch) -> None:
        """Run the bundle that is to run. One that is asked to end before it has proved itself has not had its try."""
        path = self._begin(store)
        robot, policy, found = self._prepare(robot, path)
        healthy, reports = self.run / places.HEALTHY.name, Reports(self.state / places.REPORTS.name)
        companion = Companion(path, store, found, self.notifier, reports, healthy, latch)
        with signals.told(companion.asked.append):  # not raised: a signal would be lost where something is taken apart
            self._latched(latch, robot, policy, companion, reports)
        if companion.failed:
            raise BundleError(f"{path}: on trial, and {companion.failed}: the bundle before it comes back")
        store.spare()

    def _begin(self, store: Store) -> Path:
        """The bundle to run: one that is vouched for, where this robot knows by whom.

        So another bundle in a newer package takes the place of one that was adopted from the package before it.
        """
        path = store.begin()
        if store.note:
            _log.warning("%s", store.note)
        if not self.trust.exists():
            _log.info("%s: not there, so bundles need no signature", self.trust)
            return path
        why = vouched.refusal(store, path, self.factory, self.trust)
        if not why:
            return path
        if not self.factory.is_dir():
            raise BundleError(f"{path}: {why}")
        _log.warning("%s: %s: the package's bundle takes its place", path, why)
        store.insist(self.factory, why)
        return store.begin()

    def _latched(self, latch: Latch, robot: Robot, policy: Policy, companion: Companion, reports: Reports) -> None:
        """Run, with a mark on the disk from before the arm may be used until the run has ended as it was asked to."""
        robot = latch.begin(robot)
        try:
            self._run(robot, policy, companion, reports)
        finally:
            if not companion.began:
                latch.undo()
        if companion.began:
            latch.end(left=companion.left)

    def _seed(self) -> None:
        own = config.load(self.file, calibrated=False).calibration
        if own and (names := seed_calibration(self.calibration, Path(own))):
            _log.info("calibration: from the package: %s", ", ".join(names))

    def _prepare(self, robot: Robot, path: Path) -> tuple[Robot, Policy, SelfTest]:
        """Everything that needs no device: the bundle, its engines, its answers."""
        robot = running(robot, path)
        for note in config_parts.check(self.file, robot):
            _log.warning("%s", note)
        self._phase(f"bundle {path.name}: reading", path)
        bundle = open_bundle(path)
        self._phase(f"bundle {path.name}: engines", path)
        build_engines(robot, bundle, self.notifier)
        self._phase(f"bundle {path.name}: self-test", path)
        policy, found = apart(lambda: proven_policy(robot, bundle, lambda _: self.notifier.extend(WORK_S)))
        _log.info("%s", found.text())
        return robot, policy, found

    def _run(self, robot: Robot, policy: Policy, companion: Companion, reports: Reports) -> None:
        """Connect, run, and leave a report however that ends.

        Motors or cameras that do not answer are waited for: an arm may be switched on long after its computer. It also
        ends where another bundle is to run meanwhile.
        """

        def keep(record: RunRecord) -> None:
            tried(lambda: _log.info("report: %s", reports.write(record, "run") / "report.html"))

        lacking = ""
        while not companion.asked:
            self._phase("connecting motors and cameras", quiet=bool(lacking))
            try:
                keep(
                    app.run_robot(robot, policy=policy, beside=companion.watch, rescue=keep, alive=self.notifier.alive)
                )
                return
            except DriverError as error:
                if companion.began:
                    raise
                lacking = self._lacks(str(error), lacking)
            if companion.superseded:
                _log.info("%s", ANOTHER)
                return
            time.sleep(AGAIN_S)

    def _lacks(self, what: str, before: str) -> str:
        """Say what does not answer, once."""
        self.notifier.status(f"waiting: {what}")
        if what != before:
            _log.warning("waiting: %s", what)
        return what

    def _phase(self, words: str, folder: Path | None = None, quiet: bool = False) -> None:
        """Say what is done now, and give it as long as it may take: longer where all of `folder` is read."""
        if not quiet:
            _log.info("%s", words)
            self.notifier.status(words)
        size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) if folder else 0
        self.notifier.extend(WORK_S + size / READ_BYTES_S)
