"""Does this robot compute what the bundle's reference did, and how long does it take? Asked before anything moves.

The graphs are judged as they were sealed, whatever robot.toml makes of them, and timed as robot.toml runs them. They
are loaded once for both.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_runtime import accuracy_text, verify
from edge_runtime.accuracy import ActionErrors, plain
from edge_runtime.backends.base import Backend, Feeds, Graph, Wrapped
from edge_runtime.bundle import Bundle
from edge_runtime.config import Robot
from edge_runtime.errors import BundleError
from edge_runtime.policies.graph_policy import GraphPolicy
from edge_runtime.policy import policy_on, robot_backend
from edge_runtime.probes import read_probes

TIMED = 5
"""Inferences of which the median counts, after those that were judged: they have warmed it up."""


class Once(Wrapped):
    """Loads each graph of a bundle once, for every policy that is made of it. A graph has the same feeds in each."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self._loaded: dict[Path, tuple[Graph, tuple[object, ...]]] = {}

    def load(self, path: Path, feeds: Feeds | None = None, inner: Collection[str] = ()) -> Graph:
        asked = (feeds or {}, tuple(inner))
        if path not in self._loaded:
            self._loaded[path] = self.wrapped.load(path, feeds, inner), asked
        graph, before = self._loaded[path]
        assert asked == before, f"{path} has the same feeds in each policy"
        return graph

    def forget(self) -> None:
        """Graphs that no policy has any more can go."""
        self._loaded.clear()


@dataclass(frozen=True)
class SelfTest:
    """What was found. `accepted`: the gate was not passed, as a person has accepted when the bundle was sealed."""

    answers: ActionErrors
    accepted: bool
    inference_ms: float
    """Median of `TIMED` inferences as robot.toml wants them, each with pictures of its own."""

    def facts(self) -> dict[str, Any]:
        """For a program."""
        verdict = "accepted" if self.accepted else self.answers.verdict
        return {"verdict": verdict, "inference_ms": self.inference_ms, "actions": plain(self.answers)}

    def text(self) -> str:
        """For a person, on one line."""
        verdict = "does not pass its gate, as was accepted" if self.accepted else self.answers.verdict
        figures = accuracy_text.actions(self.answers)[0]
        return f"self-test: {verdict}: {figures}; an inference takes {self.inference_ms:.1f} ms"


def proven_policy(
    robot: Robot, bundle: Bundle, told: Callable[[float], None] = lambda _: None
) -> tuple[GraphPolicy, SelfTest]:
    """The policy that `robot` wants of `bundle`, once its graphs have answered the bundle's probes here.

    `told` is called with the part of the answers that is done. Raises `BundleError` with the figures where the gate is
    not passed, unless a person has accepted as much of the bundle; and what opening it raises.
    """
    backend = Once(robot_backend(robot, bundle))
    answers = verify.check(bundle, backend, told)
    accepted = answers.verdict == "fail" and bundle.manifest.verdict == "accepted"
    if answers.verdict == "fail" and not accepted:
        raise BundleError(
            f"{bundle.path}: self-test failed: on this machine it does not answer its own probes as its gate asks: "
            f"{'; '.join(accuracy_text.actions(answers))}"
        )
    policy = policy_on(backend, bundle, robot)
    backend.forget()
    return policy, SelfTest(answers, accepted, _inference_ms(policy, bundle))


def _inference_ms(policy: GraphPolicy, bundle: Bundle) -> float:
    """How long an inference takes. What the policy makes of the next observation is not changed by it."""
    probe, times = read_probes(bundle)[0], list[float]()
    renew: Callable[[], None] = getattr(policy, "renew", lambda: None)
    for _ in range(TIMED):
        renew()
        began_ns = time.monotonic_ns()
        verify.answer(policy, probe)
        times.append((time.monotonic_ns() - began_ns) / 1e6)
    renew()
    return round(statistics.median(times), 3)
