"""Statistics of OpenVLA checkpoints: per robot, what limits its actions and its state had in training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from edge_runtime.bundle_spec import Normalisation
from export.errors import CheckpointError
from export.json_file import read_json

FILE = "dataset_statistics.json"
Kind = Literal["quantiles", "min_max"]
_LIMITS: dict[Kind, tuple[str, str]] = {"quantiles": ("q01", "q99"), "min_max": ("min", "max")}


class Limits(msgspec.Struct):
    """Limits per dimension; where `mask` is false, a dimension is not normalised (no mask: all are)."""

    q01: tuple[float, ...] = ()
    q99: tuple[float, ...] = ()
    min: tuple[float, ...] = ()
    max: tuple[float, ...] = ()
    mask: tuple[bool, ...] = ()


class _Entry(msgspec.Struct):
    action: Limits
    proprio: Limits | None = None


@dataclass(frozen=True)
class Statistics:
    """Those of one robot; `name` is what the file calls it, `where` the file and that, for errors."""

    where: str
    name: str
    action: Limits
    proprio: Limits | None


def read_statistics(config: Path, norm_stats: dict[str, msgspec.Raw] | None, robot: str | None) -> Statistics:
    """Statistics of `robot` (None: of the only one), from the file beside `config`, which holds `norm_stats`.

    A fine-tune's dataset_statistics.json replaces all of the base model's norm_stats: `get_vla` in the reference's
    experiments/robot/openvla_utils.py. `CheckpointError` where `robot` is not among them, with the names that are.
    """
    path, found = config, norm_stats
    beside = config.with_name(FILE)
    if beside.is_file():
        path, found = beside, read_json(beside, dict[str, msgspec.Raw])
    if not found:
        raise CheckpointError(f"{path}: has no statistics; {FILE} of the training run must lie beside the weights")
    if robot is None and len(found) > 1:
        raise CheckpointError(f"{path}: has statistics of {_listed(found)}; say whose with --statistics")
    name = next(iter(found)) if robot is None else robot
    if name not in found:
        raise CheckpointError(f"{path}: has no statistics of {name!r}; --statistics may be {_listed(found)}")
    try:
        entry = msgspec.json.decode(found[name], type=_Entry)
    except msgspec.MsgspecError as error:
        raise CheckpointError(f"{path}: {name}: {error}") from error
    return Statistics(f"{path}: {name}", name, entry.action, entry.proprio)


def normalisation(where: str, limits: Limits, kind: Kind, *, eps: float = 0.0, clip: float = 0.0) -> Normalisation:
    """`limits` as the runtime wants them, `eps` added to the span both ways; `CheckpointError` where there are none."""
    names = _LIMITS[kind]
    low, high = (getattr(limits, name) for name in names)
    if not low or len(low) != len(high) or len(limits.mask) not in (0, len(low)):
        raise CheckpointError(
            f"{where}: has {len(low)} {names[0]}, {len(high)} {names[1]} and {len(limits.mask)} entries of mask; "
            "expected one of each per dimension, or no mask"
        )
    return Normalisation(kind, low, high, eps_in=eps, eps_out=eps, mask=limits.mask, clip=clip)


def _listed(names: dict[str, msgspec.Raw]) -> str:
    return ", ".join(sorted(names))
