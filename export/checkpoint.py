"""What a checkpoint says besides its weights, in our own terms, whatever layout it came in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from export.models.pi0 import Pi0Config


@dataclass(frozen=True)
class Vector:
    """A state or an action as the robot has it: a name per dimension, their unit, the statistics of the training data.

    `mean` and `std` are empty where the model takes the vector as it is. `units` is empty where nobody recorded it.
    """

    names: tuple[str, ...]
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    units: str = ""
    eps: float = 0.0
    """Added to `std` before the division; nothing is added on the way back."""


@dataclass(frozen=True)
class Checkpoint:
    """A pi0 checkpoint. `cameras` maps each name to the (height, width) of its frames, in the model's order.

    `fps` is the rate of the training data's actions, None where nobody recorded it. `tokenizer` is a `tokenizer.json`.
    """

    config: Pi0Config
    cameras: dict[str, tuple[int, int]]
    state: Vector
    action: Vector
    max_tokens: int
    steps: int
    tokenizer: Path
    fps: float | None = None
