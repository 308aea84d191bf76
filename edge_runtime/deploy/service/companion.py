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
from edge_runtime.files import write_whole
from edge_runtime.session import Session
from edge_runtime.states import DISARMED, READY, State

ROUND_S = 0.1
LOOK_ROUNDS = 10
"""The store is looked at every so many rounds: once a second."""
ANOTHER = "another bundle is to run"
LEFT = (State.DISARMED, State.HOLD, State.SAFE)
"""States that a person has asked for, or must look at: a start does not lead out of them."""

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
        self.asked: list[str] = []
        """Signals that have asked for the end before the loop could hear them."""
        self.began = False
        """Everything has answered, and the loop runs or has run."""
        self.failed = ""
        """Why the bundle has failed its trial, empty where it has not."""
        self.left = True
        """The run was asked to end when it was in one of `LEFT`, or with an e-stop latched."""
        self._proof: Proof | None = None
        """None again once it is known how it came out."""
        self._doubted = False
        self._told = ""

    @property
    def superseded(self) -> bool:
        """Another bundle is to run."""
        return self._store.current != self._bundle

    def watch(self, session: Session, over: threading.Event) -> None:
        """Until the loop is `over`, which it is led to where another bundle is to run."""
        self.began = True
        director = session.loop.director
        self._proof, rounds = Proof(session, self._self_test), 0
        while not over.wait(ROUND_S):
            rounds += 1
            if self.asked:
                session.loop.close(self.asked[0])
            self._tell(session)
            self._heed(session)
            if self._proof is not None:
                self._prove(session, self._proof)
            if rounds % LOOK_ROUNDS == 0 and self.superseded and _idle(session):
                _log.info("%s", ANOTHER)
                session.loop.close(ANOTHER)
        self.left = self.left or director.mode == DISARMED or bool(director.latched)
        self._notifier.stopping()  # not before: until then the loop gives its signs of life

    def _tell(self, session: Session) -> None:
        """Tell systemd what the robot does, where that is not what it was told last."""
        closing = session.loop.closing
        words = closing or f"{session.loop.director.mode}, bundle {self._bundle.name}"
        if words != self._told:
            self._notifier.status(words)
        self._told = words

    def _heed(self, session: Session) -> None:
        """Know whether a person has armed the robot, and how it was before it was asked to end."""
        mode = session.loop.director.mode
        if mode.drives:
            self._latch.armed()
        if not session.loop.closing:  # it was not when `mode` was read
            self.left = mode.state in LEFT

    def _prove(self, session: Session, proof: Proof) -> None:
        if proof.look():
            self._proof = None
            self._proved(session, proof)
        elif proof.overdue and not self._doubted and (not self._on_trial or _idle(session)):
            self._doubted = True
            self._doubt(session, f"not healthy: {proof.lacks()}")

    def _proved(self, session: Session, proof: Proof) -> None:
        """The bundle stays, and whoever waits for `healthy` may count on this system."""
        facts = {"bundle": self._bundle.name, **proof.facts(), "healthy": True}
        _log.info("healthy: %s", proof.text())
        tried(self._store.confirm)
        tried(lambda: self._reports.write(session.record(session.clock.now_ns()), "healthy"))
        tried(lambda: write_whole(self._healthy, json.dumps(facts, indent=2) + "\n"))

    def _doubt(self, session: Session, why: str) -> None:
        """On trial this is the end of it. A bundle that has proved itself before may do so later."""
        if self._on_trial:
            self._proof, self.failed = None, why
            tried(lambda: self._store.blame(why))
            session.loop.close(why)
        else:
            _log.warning("%s", why)

    @property
    def _on_trial(self) -> bool:
        """With another one to go back to."""
        record = self._store.record
        trial = record.trial
        return trial is not None and trial.name == self._bundle.name and self._store.has(record.previous)


def _idle(session: Session) -> bool:
    """Between two episodes, and nothing waits for a person: what HOLD, SAFE and an e-stop latch, no start may reset."""
    director = session.loop.director
    return director.mode in (DISARMED, READY) and not director.latched


def tried(work: Callable[[], object]) -> None:
    """A disk that takes nothing more is said, and no reason to stop a robot."""
    try:
        work()
    except OSError as error:
        _log.warning("%s: %s", error.filename2 or error.filename, error.strerror)
