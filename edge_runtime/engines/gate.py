"""The gate of a bundle's engines: run together over the bundle's probes, before any of them counts.

One engine alone shows little: what a bundle is held to are actions, and those come of all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from edge_runtime import accuracy_text, plugins, verify
from edge_runtime.accuracy import ActionErrors
from edge_runtime.backends import trt
from edge_runtime.backends.base import Feeds, Graph, Wrapped
from edge_runtime.bundle import Bundle
from edge_runtime.errors import BackendError


class Files(Wrapped):
    """Opens the engine in `files` (a bundle's graph → the engine made of it) where a graph is asked for."""

    def __init__(self, engine: trt.Engine, files: Mapping[Path, Path]) -> None:
        super().__init__(engine)
        self._engine, self._files = engine, files

    def load(self, path: Path, feeds: Feeds | None = None, inner: Collection[str] = ()) -> Graph:
        return self._engine.open(self._files[path], path, feeds, inner)


def hold(
    bundle: Bundle, backend: str, engines: Mapping[str, Path], told: Callable[[float], None] = lambda _: None
) -> ActionErrors:
    """What the engines in the files `engines`, one a graph, answer to the bundle's probes; they run on this machine.

    Raises `BackendError` with the figures where that fails the gate, unless a person has accepted as much of the
    bundle; and what `verify.check` raises.
    """
    engine: trt.Engine = plugins.load("edge_runtime.backends", backend).Engine()
    files = Files(engine, {bundle.graph(name): file for name, file in engines.items()})
    errors = verify.check(bundle, files, told)
    if errors.verdict == "fail" and bundle.manifest.verdict != "accepted":
        raise BackendError(
            f"{bundle.path}: its engines do not answer its probes as the gate asks: "
            f"{'; '.join(accuracy_text.actions(errors))}; no new engine was kept: try another --optimisation-level, or "
            "quantize the bundle otherwise"
        )
    return errors
