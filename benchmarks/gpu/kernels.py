"""Which kernels an inference spends its time in, graph by graph and class by class, each beside its own floor.

CUPTI sees every kernel of the process, whoever launches it; PyTorch's profiler is the way to it that needs no more
than PyTorch. A class's floor is that of the graph's own operators, each read and written once: where a backend fuses
them, what it really does is less.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu import work
from benchmarks.gpu.models import observations
from benchmarks.gpu.ours import answer, opened_policy
from edge_runtime.bundle import Bundle
from edge_runtime.policies.graph_policy import GraphPolicy
from edge_runtime.roofline import DEVICES, runs

CLASSES = (
    ("attention", r"fmha|flash|attention|softmax"),
    ("gemm", r"gemm|gemv|cutlass|cublas|xmma|matmul|conv(?!ert)|splitk|nvjet"),
    ("copy", r"memcpy|memset|copy|transpose|concat|split|slice|gather|expand|cast|convert|permute|nchwto|nhwcto|pad"),
    ("normalisation", r"norm|reduce|welford"),
    ("elementwise", r"element|binary|unary|pointwise|gelu|silu|sigmoid|tanh|add|mul|bias|__myl|foreign|triton"),
)
"""Class → what its kernels' names have somewhere; the first that fits counts, and `other` is what fits none."""
NAMED = 5
"""How many kernels of a class are told by name."""


@dataclass(frozen=True)
class Kernel:
    """One kernel or copy on the GPU, as often as it ran; `us`: all of it together."""

    name: str
    us: float


@dataclass(frozen=True)
class Row:
    """A class of a graph's kernels, in one inference. `lost_ms` is above the floor; None where no floor is known."""

    graph: str
    kind: str
    ms: float
    kernels: int
    floor_ms: float | None
    longest: dict[str, float]

    @property
    def lost_ms(self) -> float:
        return self.ms - (self.floor_ms or 0.0)


def kind_of(name: str) -> str:
    """The class of a kernel, by its name."""
    low = name.lower()
    return next((kind for kind, pattern in CLASSES if re.search(pattern, low)), "other")


def grouped(
    found: Mapping[str, Iterable[Kernel]], often: Mapping[str, int], floors: Mapping[str, Mapping[str, float]]
) -> list[Row]:
    """Rows by time lost, the most first.

    `found`: graph → the kernels of one of its runs; `often`: how many runs an inference has; `floors`: graph → class →
    ms of one run, nothing where the device is not known.
    """
    rows = []
    for graph, kernels in found.items():
        times = often.get(graph, 1)
        classes: dict[str, list[Kernel]] = {}
        for kernel in kernels:
            classes.setdefault(kind_of(kernel.name), []).append(kernel)
        for kind, members in classes.items():
            floor = floors[graph].get(kind, 0.0) * times if graph in floors else None
            ms = sum(kernel.us for kernel in members) * times / 1e3
            rows.append(Row(graph, kind, ms, len(members) * times, floor, _longest(members, times)))
    return sorted(rows, key=lambda row: row.lost_ms, reverse=True)


def _longest(members: Iterable[Kernel], times: int) -> dict[str, float]:
    total: dict[str, float] = {}
    for kernel in members:
        total[kernel.name] = total.get(kernel.name, 0.0) + kernel.us * times / 1e3
    names = sorted(total, key=lambda name: total[name], reverse=True)[:NAMED]
    return {name[:120]: round(total[name], 4) for name in names}


def of_trace(trace: Mapping[str, Any]) -> list[Kernel]:
    """Kernels, copies and fills of a Chrome trace as PyTorch's profiler writes it; durations there are in µs."""
    kinds = ("kernel", "gpu_memcpy", "gpu_memset")
    events = (event for event in trace.get("traceEvents", ()) if event.get("cat") in kinds)
    return [Kernel(str(event["name"]), float(event["dur"])) for event in events]


def profile(bundle: str, backend: str, device: str) -> dict[str, Any]:
    """Profile one run of each graph of the bundle; rows by time lost. `device`: a row of `DEVICES`, or ""."""
    opened, policy = opened_policy(Path(bundle), backend)
    answer(policy, next(observations(opened.spec, opened.spec.prompt.vocab, 1)))
    found = {name: traced(graph.run) for name, graph in policy.graphs.items()}
    floors = {}
    if device:
        floors = {name: work.floors(work.nodes(opened.graph(name)), DEVICES[device]) for name in policy.graphs}
    rows = grouped(found, often(opened, policy), floors)
    return {"rows": [vars(row) | {"lost_ms": row.lost_ms} for row in rows], "ms": sum(row.ms for row in rows)}


def often(opened: Bundle, policy: GraphPolicy) -> dict[str, int]:
    """How many runs of each graph one inference has."""
    return {name: count for name, count in runs(opened.spec.head).items() if name in policy.graphs}


def traced(run: Callable[[], None]) -> list[Kernel]:
    """The kernels of one `run`. Raises what the profiler raises."""
    import torch

    for _ in range(2):  # the first begins before all of CUPTI is there
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
            run()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        kernels = of_trace(json.loads(path.read_text()))
    if not kernels:
        raise RuntimeError("the profiler saw no kernel: CUPTI may be another process's, or not allowed")
    return kernels
