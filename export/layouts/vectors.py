"""States and actions of a checkpoint, as the bundle's spec has them: names, units, statistics, rate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from edge_runtime.bundle_spec import Normalisation, VectorSpec
from export.errors import CheckpointError
from export.layouts.options import Options

ASSUMED_FPS = 30.0
"""Rate of the actions where neither the checkpoint nor the person says it."""
Rate = Literal["given", "checkpoint", "assumed"]


def rate(given: float | None, recorded: float | None, assumed: float = ASSUMED_FPS) -> tuple[float, Rate]:
    """Seconds between two actions, and who said so: the person, the checkpoint, or nobody. Rates are in Hz."""
    told: tuple[tuple[float | None, Rate], ...] = ((given, "given"), (recorded, "checkpoint"), (assumed, "assumed"))
    fps, who = next((fps, who) for fps, who in told if fps is not None)
    if not 0.0 < fps < 1e4:
        raise CheckpointError(f"fps: {fps} is not a rate of actions; give it with --fps")
    return 1.0 / fps, who


def vector(names: Sequence[str], padded: int, units: str = "") -> VectorSpec:
    """A vector whose dimensions share a unit ("" where nobody recorded it)."""
    return VectorSpec(tuple(names), (units,) * len(names), padded)


def numbered(kind: str, dims: int) -> tuple[str, ...]:
    """Names for dimensions that nobody named: state.0, state.1, …"""
    return tuple(f"{kind}.{i}" for i in range(dims))


def own_names(path: Path, options: Options) -> tuple[str, ...]:
    """A robot's own names for the cameras of a model that only counts them, in the order in which it sees them."""
    names = tuple(options.cameras)
    if options.unordered and len(names) > 1 and not all(name.isdigit() for name in names):
        raise CheckpointError(
            f"{path}: no file names this model's cameras, and an observation has no order; give --camera for each of "
            f"{', '.join(names)}, in the order in which the model sees them"
        )
    return names


def spread(low: Sequence[float], high: Sequence[float], eps: float) -> tuple[float, ...]:
    """`high`, moved up by `eps` where it is not above `low`: lerobot's rule for a dimension that never changed."""
    return tuple(h if h != lo else lo + eps for lo, h in zip(low, high, strict=True))


NONE = Normalisation("none")
NO_STATE = VectorSpec((), (), 0)
