"""`edge compile BUNDLE`: an engine for every graph, built or found as it was, and what that proves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edge_runtime.bundle import Bundle, open_bundle
from edge_runtime.engines import layers as layer_report
from edge_runtime.engines import operators
from edge_runtime.engines.api import RTX_ARCHS, Api, load_api, place_here
from edge_runtime.engines.build import build
from edge_runtime.engines.key import BuildOptions, EngineKey, Place
from edge_runtime.engines.store import EngineInfo, Judge, Layers, Store
from edge_runtime.errors import BackendError
from edge_runtime.onnx_nodes import OnnxGraph, read_nodes

JETPACK_6 = "10.3"
"""The TensorRT of JetPack 6, whose operators every graph is held against."""
ALWAYS = ("every graph parses", "every operator is supported with the types it has there")
NEVER = ("speed: measure it on the robot",)
UNRUN = ("that the engines run, or compute what the graphs do: nothing has run them",)
AHEAD = (
    "anything about Orin (SM87): TensorRT-RTX does not build for it, SM86 is the nearest",
    "that INT8 products run in INT8: for SM86 its support matrix has INT8 and INT4 for weights alone",
)
BLIND = "not inspected: that takes the GPU that the engine is for"
Judging = Callable[[Bundle, Place, str], Judge | None]
"""Bundle, place and graph → what runs a new engine and holds it to the bundle's gate; None where nothing can."""
Progress = Callable[[str, float], None]
"""Called with the graph that is being built and the part of it that is done."""


@dataclass(frozen=True)
class Engine:
    """One graph's engine. `rebuilt`: why the one that was there was not taken; "" where none was or it was."""

    info: EngineInfo
    path: Path
    built: bool
    rebuilt: str


@dataclass(frozen=True)
class Compiled:
    """What came of it. `jetpack_6`: graph → what of it TensorRT 10.3 does not take."""

    bundle: Path
    title: str
    place: Place
    options: BuildOptions
    ahead: bool
    engines: dict[str, Engine]
    jetpack_6: dict[str, tuple[str, ...]]

    @property
    def proven(self) -> tuple[str, ...]:
        held = all(engine.info.held for engine in self.engines.values())
        return (*ALWAYS, "the engines compute what the bundle's gate asks for") if held else ALWAYS

    @property
    def unproven(self) -> tuple[str, ...]:
        held = all(engine.info.held for engine in self.engines.values())
        return (*(() if held else UNRUN), *NEVER, *(AHEAD if self.ahead else ()))


def compile_bundle(
    path: Path,
    backend: str = "trt",
    arch: str = "",
    options: BuildOptions | None = None,
    *,
    rebuild: bool = False,
    progress: Progress | None = None,
    judging: Judging | None = None,
) -> Compiled:
    """Check the bundle and see that it has an engine for each of its graphs; `rebuild`: build all of them anew.

    `arch` is a GPU architecture of `RTX_ARCHS` that TensorRT-RTX builds for without having it. Raises `BundleError` for
    a bundle that the robot would refuse and `BackendError` for what cannot be built.
    """
    api, options = load_api(backend), options or BuildOptions()
    place = _place(api, arch)
    bundle = open_bundle(path)
    graphs = {name: read_nodes(bundle.graph(name)) for name in bundle.manifest.graphs}
    lacking = {name: operators.unsupported(graph) for name, graph in graphs.items()}
    if not api.ahead and f"{api.version}.".startswith(f"{JETPACK_6}."):
        _refuse(api, bundle, lacking)
    job = _Job(api, bundle, Store(path), place, options, bool(arch), judging, progress or (lambda _graph, _part: None))
    with job.store.building():
        engines = {name: job.engine(name, graph, rebuild) for name, graph in graphs.items()}
    return Compiled(path, api.name, place, options, bool(arch), engines, lacking)


@dataclass(frozen=True)
class _Job:
    """What is the same for every graph."""

    api: Api
    bundle: Bundle
    store: Store
    place: Place
    options: BuildOptions
    ahead: bool
    judging: Judging | None
    progress: Progress

    def engine(self, name: str, graph: OnnxGraph, rebuild: bool) -> Engine:
        """The engine that is there, or a new one."""
        key = EngineKey(self.place, self.bundle.manifest.seal, name, self.options)
        found = self.store.find(key)
        if found.info is not None and not rebuild:
            return Engine(found.info, self.store.path(found.info), built=False, rebuilt="")
        info = self._build(key, graph)
        return Engine(info, self.store.path(info), built=True, rebuilt=found.why)

    def _build(self, key: EngineKey, graph: OnnxGraph) -> EngineInfo:
        place, name = self.place, key.graph
        self.progress(name, 0.0)
        made = build(
            self.api,
            self.bundle.graph(name),
            graph,
            key.options,
            arch=place.arch,
            timing=self.store.folder / f"timing-{place.backend}-{place.version}-{place.arch}.cache",
            tell=lambda part: self.progress(name, part),
        )
        self.progress(name, 1.0)
        return self.store.commit(
            key,
            made.engine,
            seconds=made.seconds,
            warnings=made.warnings,
            layers=Layers(note=BLIND) if self.ahead else layer_report.inspect(self.api, made.engine, graph),
            judge=None if self.judging is None else self.judging(self.bundle, place, name),
        )


def _place(api: Api, arch: str) -> Place:
    if arch and not api.ahead:
        raise BackendError(
            f"--for {arch}: {api.title} builds for the GPU in this machine and no other; leave --for out"
        )
    place = Place(api.backend, api.version, arch) if arch else place_here(api)
    if api.ahead and place.arch not in RTX_ARCHS:
        orin = "; Orin's engines are built on the robot, with --backend trt" if place.arch == "sm87" else ""
        raise BackendError(f"--for {place.arch}: {api.title} builds for {', '.join(RTX_ARCHS)}{orin}")
    return place


def _refuse(api: Api, bundle: Bundle, lacking: dict[str, tuple[str, ...]]) -> None:
    """Say what will not build before minutes are spent on what will."""
    for name, lines in lacking.items():
        if lines:
            more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
            raise BackendError(
                f"{bundle.graph(name)}: {api.name} does not take {lines[0]}{more}; export the bundle again"
            )


def facts(found: Compiled) -> dict[str, Any]:
    """The result for a program; what the sidecars say of the layers stays there."""
    return {
        "bundle": str(found.bundle),
        "place": msgspec.to_builtins(found.place),
        "ahead_of_time": found.ahead,
        "options": msgspec.to_builtins(found.options),
        "graphs": {name: _engine_facts(engine) for name, engine in found.engines.items()},
        "tensorrt_10_3_does_not_take": {name: list(lines) for name, lines in found.jetpack_6.items()},
        "proves": list(found.proven),
        "does_not_prove": list(found.unproven),
    }


def _engine_facts(engine: Engine) -> dict[str, Any]:
    info = engine.info
    return {
        "engine": str(engine.path),
        "size": info.size,
        "sha256": info.sha256,
        "seconds": info.seconds,
        "built": engine.built,
        "rebuilt_because": engine.rebuilt,
        "held_to_gate": info.held,
        "warnings": list(info.warnings),
        "layers": info.layers.note or len(info.layers.layers),
        "unfused": list(info.layers.unfused),
    }


def text(found: Compiled) -> str:
    """The result for a person."""
    ahead = ", ahead of time" if found.ahead else ""
    where = ", ".join(word for word in (found.place.arch, found.place.device, found.place.l4t) if word)
    lines = [f"{found.bundle}: engines for {where}, {found.title}{ahead}"]
    lines.append(f"  {'graph':<10}{'bytes':>15}{'seconds':>10}")
    for name, engine in found.engines.items():
        how = "built" if engine.built else "as it was"
        lines.append(f"  {name:<10}{engine.info.size:>15,}{engine.info.seconds:>10.1f}   {how}")
        lines += [f"    {engine.rebuilt}"] if engine.rebuilt else []
        lines += [f"    warning: {line}" for line in engine.info.layers.unfused]
    notes = dict.fromkeys(engine.info.layers.note for engine in found.engines.values())
    lacking = [f"{name}: {line}" for name, lines_ in found.jetpack_6.items() for line in lines_]
    jetpack = lacking or ["all are on its list of operators"]
    return "\n".join(
        (
            *lines,
            *_labelled("layers", tuple(note for note in notes if note)),
            *_labelled(f"TensorRT {JETPACK_6}", tuple(jetpack)),
            *_labelled("proves", found.proven),
            *_labelled("not", found.unproven),
        )
    )


def _labelled(label: str, lines: tuple[str, ...]) -> list[str]:
    return [f"  {label if i == 0 else '':<15}{line}" for i, line in enumerate(lines)]
