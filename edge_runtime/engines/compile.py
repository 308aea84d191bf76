"""`edge compile BUNDLE`: an engine for every graph, built or found, all of them run together, and what that proves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edge_runtime import accuracy_text
from edge_runtime.accuracy import ActionErrors, plain
from edge_runtime.bundle import Bundle, open_bundle
from edge_runtime.engines import gate, operators
from edge_runtime.engines import layers as layer_report
from edge_runtime.engines.api import RTX_ARCHS, Api, load_api, place_here
from edge_runtime.engines.build import build
from edge_runtime.engines.key import BuildOptions, EngineKey, Place
from edge_runtime.engines.store import EngineInfo, Layers, Staged, Store
from edge_runtime.errors import BackendError
from edge_runtime.onnx_nodes import OnnxGraph, read_nodes
from edge_runtime.targets import TARGETS

JETPACK_6 = "10.3"
"""The TensorRT of JetPack 6, whose operators every graph is held against."""
ALWAYS = ("every graph parses", "every operator is supported with the types it has there")
NEVER = ("speed: measure it where they run",)
HELD = "the engines answer the bundle's probes as its gate asks"
UNRUN = ("that the engines run, or compute what the graphs do: nothing has run them",)
ACCEPTED = ("that the engines answer as the gate asks: they do not, as was accepted when the bundle was sealed",)
STANDS_IN = (
    "anything about Orin (SM87): TensorRT-RTX does not build for it, SM86 is the nearest",
    "that INT8 products run in INT8: for SM86 its support matrix has INT8 and INT4 for weights alone",
)
ORIN, STAND_IN = "sm87", "sm86"
"""What TensorRT-RTX does not build for, and what shows ahead of time whether a bundle for it builds."""
BLIND = "not inspected: that takes the GPU that the engine is for"
Progress = Callable[[str, float], None]
"""Called with the graph that is being built, or `GATE`, and the part of it that is done."""
GATE = "gate"


@dataclass(frozen=True)
class Engine:
    """One graph's engine. `rebuilt`: why the one that was there was not taken; "" where none was or it was."""

    info: EngineInfo
    path: Path
    built: bool
    rebuilt: str


@dataclass(frozen=True)
class Compiled:
    """What came of it. `jetpack_6`: graph → what of it TensorRT 10.3 does not take.

    `answers`: what the engines made of the bundle's probes, None where they did not run this time.
    """

    bundle: Path
    title: str
    place: Place
    options: BuildOptions
    ahead: bool
    engines: dict[str, Engine]
    jetpack_6: dict[str, tuple[str, ...]]
    answers: ActionErrors | None

    @property
    def held(self) -> bool:
        """All were run and held to the gate, now or when they were built."""
        return all(engine.info.held for engine in self.engines.values())

    @property
    def proven(self) -> tuple[str, ...]:
        return (*ALWAYS, HELD) if self.held else ALWAYS

    @property
    def unproven(self) -> tuple[str, ...]:
        lacking = () if self.held else UNRUN if self.answers is None else ACCEPTED
        return (*lacking, *NEVER, *(STANDS_IN if self.ahead and self.place.arch == STAND_IN else ()))


def compile_bundle(
    path: Path,
    backend: str = "trt",
    arch: str = "",
    options: BuildOptions | None = None,
    *,
    rebuild: bool = False,
    progress: Progress | None = None,
) -> Compiled:
    """Check the bundle and see that it has an engine for each of its graphs; `rebuild`: build all of them anew.

    `arch` is a GPU architecture of `RTX_ARCHS` that TensorRT-RTX builds for without having it. Engines for the
    GPU that is here are run, all together, and the new ones are kept if the bundle's gate is passed. Raises
    `BundleError` for a bundle that the robot would refuse and `BackendError` for what cannot be built or does not pass.
    """
    if arch and backend != "trt_rtx":
        raise BackendError(
            f"--for {arch}: needs --backend trt-rtx; TensorRT builds for the GPU in this machine and no other"
        )
    api, options = load_api(backend), options or BuildOptions()
    place = _place(api, arch)
    bundle = open_bundle(path)
    _refuse_target(bundle, place, bool(arch))
    graphs = {name: read_nodes(bundle.graph(name)) for name in bundle.manifest.graphs}
    lacking = {name: operators.unsupported(graph) for name, graph in graphs.items()}
    if not api.ahead and f"{api.version}.".startswith(f"{JETPACK_6}."):
        _refuse(api, bundle, lacking)
    job = _Job(api, bundle, Store(path), place, options, bool(arch), progress or (lambda _graph, _part: None))
    with job.store.building():
        chosen = {name: job.choose(name, graph, rebuild) for name, graph in graphs.items()}
        answers = job.answers(chosen)
        held = answers is not None and answers.verdict == "pass"
        engines = {name: job.keep(each, held) for name, each in chosen.items()}
    return Compiled(path, api.name, place, options, bool(arch), engines, lacking, answers)


@dataclass(frozen=True)
class _Chosen:
    """A new engine of a graph, or the one that was there; `rebuilt` as in `Engine`."""

    engine: Staged
    new: bool
    rebuilt: str = ""


@dataclass(frozen=True)
class _Job:
    """What is the same for every graph."""

    api: Api
    bundle: Bundle
    store: Store
    place: Place
    options: BuildOptions
    ahead: bool
    progress: Progress

    def choose(self, name: str, graph: OnnxGraph, rebuild: bool) -> _Chosen:
        """The engine that is there, or a new one."""
        key = EngineKey(self.place, self.bundle.manifest.seal, name, self.options)
        found = self.store.find(key)
        if found.info is not None and not rebuild:
            return _Chosen(Staged(found.info, self.store.path(found.info)), new=False)
        return _Chosen(self._build(key, graph), new=True, rebuilt=found.why)

    def answers(self, chosen: Mapping[str, _Chosen]) -> ActionErrors | None:
        """What the engines answer together; None where they run elsewhere, or each was held to the gate before."""
        if self.ahead or all(each.engine.info.held for each in chosen.values()):
            return None
        files = {name: each.engine.path for name, each in chosen.items()}
        found = gate.hold(self.bundle, self.api.backend, files, lambda part: self.progress(GATE, part))
        self.progress(GATE, 1.0)
        return found

    def keep(self, chosen: _Chosen, held: bool) -> Engine:
        """Let a new engine count, and say of one that was there that it was `held` to the gate."""
        info = chosen.engine.info
        if chosen.new or (held and not info.held):
            info = self.store.keep(chosen.engine, held=held)
        return Engine(info, self.store.path(info), chosen.new, chosen.rebuilt)

    def _build(self, key: EngineKey, graph: OnnxGraph) -> Staged:
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
        return self.store.stage(
            key,
            made.engine,
            seconds=made.seconds,
            warnings=made.warnings,
            layers=Layers(note=BLIND) if self.ahead else layer_report.inspect(self.api, made.engine, graph),
        )


def _place(api: Api, arch: str) -> Place:
    """`arch` where one is named, else the GPU that is here."""
    if arch and arch not in RTX_ARCHS:
        orin = "; Orin's engines are built on the robot, with --backend trt" if arch == ORIN else ""
        raise BackendError(f"--for {arch}: {api.title} builds for {', '.join(RTX_ARCHS)}{orin}")
    if arch:
        return Place(api.backend, api.version, arch)
    try:
        return place_here(api)
    except BackendError as error:
        if not api.ahead:
            raise
        raise BackendError(f"{str(error).rstrip('.')}; or name a GPU: --for {STAND_IN}") from error


def _refuse_target(bundle: Bundle, place: Place, ahead: bool) -> None:
    """A bundle that was quantized for other GPUs is not for this one; a target that is not known here may be."""
    made = bundle.manifest.quantization
    row = TARGETS.get(made.target) if made else None
    if row is None or place.arch in row.sm or (ahead and place.arch == STAND_IN and ORIN in row.sm):
        return
    gpus = f" ({', '.join(row.sm)})" if row.sm else ""
    raise BackendError(
        f"{bundle.path}: made for {row.title}{gpus}, not for {place.arch}; quantize the original for another target"
    )


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
        "answers": None if found.answers is None else plain(found.answers),
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
            *_labelled("answers", () if found.answers is None else tuple(accuracy_text.actions(found.answers))),
            *_labelled("proves", found.proven),
            *_labelled("not", found.unproven),
        )
    )


def _labelled(label: str, lines: tuple[str, ...]) -> list[str]:
    return [f"  {label if i == 0 else '':<15}{line}" for i, line in enumerate(lines)]
