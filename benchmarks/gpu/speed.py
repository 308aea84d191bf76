"""A row a model and number of cameras: ours on every backend that runs, PyTorch eager, torch.compile; same inference.

Each is a process of its own, one after the other, so that none shares the GPU or the cores with another. What cannot
run, or would not fit into the time, is said so in its place.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu import bundle, child, eager, kernels, ours
from benchmarks.gpu.agreement import agreement
from benchmarks.gpu.budget import Budget
from benchmarks.gpu.goals import GOAL
from benchmarks.gpu.machine import nvidia_smi
from benchmarks.gpu.models import MODELS, Model
from edge_runtime.bundle import read_manifest
from edge_runtime.doctor.host import Host
from edge_runtime.errors import EdgeError
from edge_runtime.roofline import parts, roofline
from export.loading import empty_model

NEED_S = {
    "bundle": 60.0,
    "eager": 45.0,
    "compile default": 150.0,
    "compile max-autotune": 600.0,
    "kernels": 45.0,
    "ort_cuda": 60.0,
    "trt": 400.0,
    "trt_rtx": 300.0,
}
"""About what each takes of a pi0 on a fast machine, building its engines included."""
LIMIT_S = 3600.0
_PI0 = 3.2e9
"""Parameters."""
Row = dict[str, Any]
Part = dict[str, Any]


@dataclass
class Speed:
    """What is the same for all rows. `device`: a row of `roofline.DEVICES` or "". `mode`: torch.compile's. `told` is
    called after every part."""

    backends: Collection[str]
    device: str
    replays: int
    mode: str
    folder: Path
    budget: Budget
    told: Callable[[Row], None]
    say: Callable[[str], None]
    _size: float = 1.0
    """Of the model of this row, in pi0s."""

    def row(self, name: str, cameras: int) -> Row:
        """Everything about one model. Its bundle is in `folder` until the row is done."""
        model, home = MODELS[name], self.folder / f"{name}-{cameras}"
        shutil.rmtree(home, ignore_errors=True)
        row: Row = {"model": name, "cameras": cameras, "steps": getattr(model.spec.head, "steps", 0), "ours": {}}
        try:
            self._fill(row, model, home)
        finally:
            shutil.rmtree(home, ignore_errors=True)
        return row

    def _fill(self, row: Row, model: Model, home: Path) -> None:
        title = f"{row['model']}, {row['cameras']} cameras"
        by_pytorch, made = home / "pytorch.npz", home / "bundle"
        home.mkdir(parents=True)
        given = (row["model"], row["cameras"])
        empty = empty_model(model.checkpoint(row["cameras"]))
        self._size = max(0.3, sum(parameter.numel() for parameter in empty.parameters()) / _PI0)
        row["bundle"] = self._part(title, "bundle", bundle.make, *given, str(made))
        self.told(row)
        row["eager"] = self._part(title, "eager", eager.eager, *given, self.replays, str(by_pytorch))
        self.told(row)
        if row["bundle"]["ran"]:
            answers = _arrays(by_pytorch)
            bundle.finish(model, row["cameras"], made, answers)
            row |= self._floor(made)
            for backend in self.backends:
                row["ours"][backend] = found = self._ours(title, backend, made, home, answers)
                self.told(row)
                found["kernels"] = self._kernels(title, backend, made, row) if found["ran"] else _not("it did not run")
                self.told(row)
        compiled = self._part(title, f"compile {self.mode}", eager.compiled, *given, self.replays, self.mode)
        row["compile"] = {"mode": self.mode, **compiled}
        self.told(row)

    def _ours(self, title: str, backend: str, made: Path, home: Path, answers: Mapping[str, Any]) -> Part:
        """One backend: times, and agreement with PyTorch."""
        file = home / f"{backend}.npz"
        found = self._part(title, backend, ours.measure, str(made), backend, self.replays, str(file))
        found["nvidia_smi"] = nvidia_smi(Host())  # did it get hot, did its clocks fall
        found["agreement"] = agreement(_arrays(file), answers) if found["ran"] else _not("it did not run")
        return found

    def _kernels(self, title: str, backend: str, made: Path, row: Row) -> Part:
        """Where the time goes, of the policy that the goal is about."""
        if (row["model"], row["cameras"]) != GOAL:
            return _not(f"of {GOAL[0]} with {GOAL[1]} cameras alone")
        given = (str(made), backend, self.device)
        return self._part(title, "kernels", kernels.profile, *given, said=f"kernels of {backend}")

    def _part(self, title: str, what: str, function: Callable[..., Any], *arguments: Any, said: str = "") -> Part:
        if lacking := self.budget.lacks(NEED_S[what] * self._size):
            return _not(lacking)
        self.say(f"{title}: {said or what}")
        try:
            found = child.run(function, *arguments, limit_s=self.budget.at_most(LIMIT_S))
        except child.Failed as error:
            return _not(str(error))
        return {"ran": True, "why": "", **found}

    def _floor(self, made: Path) -> dict[str, Any]:
        """The roofline's floor, ms, None where the device is not known or does not compute so."""
        manifest = read_manifest(made / "manifest.json")
        costs = {"parameters": sum(cost.parameters for cost in manifest.costs.values())}
        if not self.device:
            return costs | {"floor_ms": None, "floor_why": "unknown device, or not in the power mode of its row"}
        try:
            return costs | {"floor_ms": round(roofline(parts(manifest), self.device).ms, 4), "floor_why": ""}
        except EdgeError as error:
            return costs | {"floor_ms": None, "floor_why": str(error)}


def _not(why: str) -> Part:
    return {"ran": False, "why": why}


def _arrays(file: Path) -> dict[str, np.ndarray[Any, Any]]:
    """What stands in the file; nothing where it is not there."""
    if not file.is_file():
        return {}
    with np.load(file) as found:
        return dict(found)
