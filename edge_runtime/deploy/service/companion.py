"""What the service does beside its loop: it says what goes on, lets a proof count, and makes way for another bundle."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path

from edge_runtime.deploy.models.store import Store
from edge_runtime.deploy.service.latch import Latch
from edge_runtime.deploy.service.notify import Notifier
from edge_runtime.deploy.service.proof import Proof
from edge_runtime.deploy.service.reports import Reports
from edge_runtime.deploy.service.self_test import SelfTest
from edge_runtime.errors import BundleError
from edge_runtime.files import write_whole
from edge_runtime.session import Session
from edge_runtime.states import DISARMED, READY

ROUND_S = 0.1
LOOK_ROUNDS = 10
"""The store is looked at every so many rounds: once a second."""
ANOTHER = "another bundle is to run"

_log = logging.getLogger("edge_runtime")


class Companion:
    """One start of the service. `watch` is for `run_robot`'s thread beside the loop."""

    def __init__(
        self,
        bundle: Path,
        store: Store,
        self_test: SelfTest,
        notifier: Notifier,
        reports: Reports,
        healthy: Path,
        latch: Latch,
    ) -> None:
        """`bundle`: the one that runs, resolved; `healthy`: the file that is there once it has proved itself."""
        self._bundle = bundle
        self._store = store
        self._self_test = self_test
        self._notifier = notifier
        self._reports = reports
        self._healthy = healthy
        self._latch = latch
        self.began = False
        """Everything has answered, and the loop runs or has run."""
        self._proof: Proof | None = None
        """None again once it is known how it came out."""
        self._told = ""

    def watch(self, session: Session, over: threading.Event) -> None:
        """Until the loop is `over`. `BundleError`, and the end of the loop, where a bundle fails its trial."""
        self.began = True
        self._latch.set()
        self._proof, rounds = Proof(session, self._self_test), 0
        while not over.wait(ROUND_S):
            rounds += 1
            self._tell(session)
            if self._proof is not None:
                self._prove(session, self._proof)
            if rounds % LOOK_ROUNDS == 0 and self._store.current != self._bundle and _idle(session):
                session.loop.close(ANOTHER)

    def _tell(self, session: Session) -> None:
        """Tell systemd what the robot does, where that is not what it was told last."""
        closing = session.loop.closing
        words = closing or f"{session.loop.director.mode}, bundle {self._bundle.name}"
        if closing and words != self._told:
            self._notifier.stopping()
        if words != self._told:
            self._notifier.status(words)
        self._told = words

    def _prove(self, session: Session, proof: Proof) -> None:
        if proof.look():
            self._proof = None
            self._proved(session, proof)
        elif proof.overdue and (not self._on_trial or _idle(session)):
            self._proof = None
            self._give_up(session, f"not healthy: {proof.lacks()}")

    def _proved(self, session: Session, proof: Proof) -> None:
        """The bundle stays, and whoever waits for `healthy` may count on this system."""
        facts = {"bundle": self._bundle.name, **proof.facts(), "healthy": True}
        _log.info("healthy: %s", proof.text())
        _tried(self._store.confirm)
        _tried(lambda: self._reports.write(session.record(session.clock.now_ns()), "healthy"))
        _tried(lambda: write_whole(self._healthy, json.dumps(facts, indent=2) + "\n"))

    def _give_up(self, session: Session, why: str) -> None:
        if not self._on_trial:
            _log.warning("%s", why)
            return
        self._store.blame(why)
        session.loop.close(why)
        raise BundleError(f"{self._bundle}: on trial, and {why}: the bundle before it comes back")

    @property
    def _on_trial(self) -> bool:
        """With another one to go back to."""
        record = self._store.record
        trial = record.trial
        return trial is not None and trial.name == self._bundle.name and self._store.has(record.previous)


def _idle(session: Session) -> bool:
    """Between two episodes, and nothing waits for a person: what HOLD and SAFE latch, no restart may reset."""
    return session.loop.director.mode in (DISARMED, READY)


def _tried(work: Callable[[], object]) -> None:
    """A disk that takes nothing more is said, and no reason to stop a robot."""
    try:
        work()
    except OSError as error:
        _log.warning("%s: %s", error.filename2 or error.filename, error.strerror)
