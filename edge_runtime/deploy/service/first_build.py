"""Engines are built on the robot, when the service starts and this machine has none that it would load."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from edge_runtime import plugins
from edge_runtime.bundle import Bundle
from edge_runtime.config import Robot
from edge_runtime.deploy.service.notify import Notifier
from edge_runtime.engines.api import BACKENDS, load_api, place_here
from edge_runtime.engines.here import found_here

STEP_S = 600.0
"""So long may a step of a build take: a build that gets no further is ended by systemd, and every step that it makes
gives it as long again. TensorRT's longest single steps, the tactics of one large layer, take minutes on an Orin."""
SAY_S = 10.0
_EXTEND_S = 1.0
"""Systemd is not told more often than this."""

_log = logging.getLogger("edge_runtime")


def build_engines(robot: Robot, bundle: Bundle, notifier: Notifier) -> None:
    """See that the backend of `robot` has an engine for each graph; those of before stay until the new ones passed.

    Raises `BackendError` and `BundleError` as `compile_bundle` does.
    """
    backend = plugins.file_name(robot.policy.backend)
    if backend not in BACKENDS:
        return
    place = place_here(load_api(backend))
    lacking = [found.why or f"there is none of {graph}" for graph, found in found_here(bundle, place) if not found.info]
    if not lacking:
        return
    _log.info("engines are built for %s: %s", place, lacking[0])
    from edge_runtime.engines.compile import compile_bundle

    compile_bundle(bundle.path, backend, progress=Lines(notifier))
    _log.info("engines: built, and held to the bundle's gate")


class Lines:
    """Progress as lines for the journal: one whenever a graph is a tenth further, or after `SAY_S`."""

    def __init__(self, notifier: Notifier, now_s: Callable[[], float] = time.monotonic) -> None:
        self._notifier = notifier
        self._now_s = now_s
        self._at = ("", -1.0)
        self._said = ("", -1)
        self._said_s = self._extended_s = float("-inf")

    def __call__(self, graph: str, part: float) -> None:
        """`part` of `graph` is done. Nothing happens where that is no more than before."""
        if (graph, part) == self._at or (graph == self._at[0] and part < self._at[1]):
            return
        self._at, now_s = (graph, part), self._now_s()
        if now_s - self._extended_s >= _EXTEND_S:
            self._notifier.extend(STEP_S)
            self._extended_s = now_s
        tenth = (graph, int(10 * part))
        if tenth != self._said or now_s - self._said_s >= SAY_S:
            self._said, self._said_s = tenth, now_s
            words = f"building engines: {graph} {part:.0%}"
            self._notifier.status(words)
            _log.info("%s", words)
