"""Which of a bundle's engines this machine would load, and why not the others."""

from __future__ import annotations

from collections.abc import Iterator

from edge_runtime.bundle import Bundle
from edge_runtime.engines.key import BuildOptions, EngineKey, Place
from edge_runtime.engines.store import Found, Store


def found_here(bundle: Bundle, place: Place) -> Iterator[tuple[str, Found]]:
    """Each graph with its engine for `place`, whatever options that was built with. Reads every byte of it."""
    store = Store(bundle.path)
    for graph in bundle.manifest.graphs:
        key = EngineKey(place, bundle.manifest.seal, graph, BuildOptions())
        yield graph, store.find(key, any_options=True)
