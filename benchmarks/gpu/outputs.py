"""What our backends answer on this GPU, against ONNX Runtime on the CPU: the demo policy, and the reference checkpoints
where they lie beside the checkout."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from benchmarks.demo.bundle import demo_bundle
from benchmarks.gpu import child
from benchmarks.gpu.budget import Budget
from benchmarks.gpu.ours import engine, prepare
from edge_runtime import verify
from edge_runtime.accuracy import action_errors, plain
from edge_runtime.backends import ort
from edge_runtime.bundle import open_bundle
from edge_runtime.policies.runners import runner
from edge_runtime.policies.seams import probed
from edge_runtime.probes import read_probes
from export.pipeline import export_checkpoint
from tests.export.golden import SHARED, sets

EXPORT_NEED_S, NEED_S, LIMIT_S = 20.0, 20.0, 900.0
DEMO = "demo"


def section(backends: Collection[str], folder: Path, budget: Budget, say: Callable[[str], None]) -> dict[str, Any]:
    """By policy, and in each by backend: errors of actions, and the verdict of the bundle's own gate."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {name: _policy(name, backends, folder, budget, say) for name in names()}
    if not sets(SHARED):
        why = "there are none beside this checkout"
        found["reference checkpoints"] = {backend: {"ran": False, "why": why} for backend in backends}
    return found


def names() -> list[str]:
    """The demo policy, and every golden set that is there."""
    return [DEMO, *(golden.kind for golden in sets(SHARED))]


def _policy(
    name: str, backends: Collection[str], folder: Path, budget: Budget, say: Callable[[str], None]
) -> dict[str, Any]:
    out = folder / name
    try:
        _in_time(budget, EXPORT_NEED_S)
        say(f"{name}: export")
        child.run(exported, name, str(out), limit_s=budget.at_most(LIMIT_S))
    except child.Failed as error:
        return {backend: {"ran": False, "why": f"not exported: {error}"} for backend in backends}
    return dict(_answers(name, out, backends, budget, say))


def _answers(
    name: str, out: Path, backends: Collection[str], budget: Budget, say: Callable[[str], None]
) -> Iterator[tuple[str, dict[str, Any]]]:
    for backend in backends:
        try:
            _in_time(budget, NEED_S)
            say(f"{name}: answers of {backend}")
            yield (
                backend,
                {"ran": True, "why": "", **child.run(held, str(out), backend, limit_s=budget.at_most(LIMIT_S))},
            )
        except child.Failed as error:
            yield backend, {"ran": False, "why": str(error)}


def _in_time(budget: Budget, need_s: float) -> None:
    if lacking := budget.lacks(need_s):
        raise child.Failed(lacking)


def exported(name: str, out: str) -> None:
    """Export the policy to a bundle at `out`."""
    if name == DEMO:
        demo_bundle(Path(out))
        return
    golden = next(golden for golden in sets(SHARED) if golden.kind == name)
    export_checkpoint(golden.checkpoint, Path(out), golden.options())


def held(out: str, backend: str) -> dict[str, Any]:
    """Hold the bundle's graphs on `backend` to its probes, and compare them with ONNX Runtime on the CPU."""
    prepare(Path(out), backend)
    opened, probes = open_bundle(Path(out)), read_probes(open_bundle(Path(out)))
    engines = (engine(backend), ort.Engine(os.cpu_count() or 1))
    by_gpu, by_cpu = (
        [
            verify.answer(runner(opened, one, on_malformed="pad", seam=probed(opened.manifest)), probe)
            for probe in probes
        ]
        for one in engines
    )
    errors = action_errors(
        opened.spec,
        [actions for actions, _ in by_gpu],
        [actions for actions, _ in by_cpu],
        verify.gate_of(opened.manifest),
        [(a, b) for (_, a), (_, b) in zip(by_gpu, by_cpu, strict=True)],
    )
    checked = verify.check(opened, engine(backend))
    verdict = "pass" if errors.verdict == checked.verdict == "pass" else "fail"
    return {"verdict": verdict, "against_cpu": plain(errors), "against_probes": plain(checked)}
