"""What is in a dataset: sizes, ranges, instructions and damage, for a person and for a program. Reads all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from calibration.datasets.base import Damage, Dataset, DatasetError, Episode, Floats, refuse

Told = Callable[[int, int], None]
"""Told how many episodes, of how many, have been read."""
OnCorrupt = Literal["skip", "fail"]

_SHOWN = 5
"""Instructions and corrupt records that the text lists."""
_MARGIN = 14


def damage_handler(on_corrupt: OnCorrupt, corrupt: list[str]) -> Damage:
    """Raise damage, or note it in `corrupt` and go on."""
    return refuse if on_corrupt == "fail" else lambda error: corrupt.append(str(error))


def describe(dataset: Dataset, on_corrupt: OnCorrupt = "skip", told: Told = lambda _done, _of: None) -> dict[str, Any]:
    """Read every episode and decode every image once; docs/datasets.md has the keys.

    Damaged episodes are listed under `corrupt` and counted nowhere else, those among them whose frames are not of the
    size that a camera had before. Raises the first `DatasetError` for "fail".
    """
    corrupt: list[str] = []
    damage = damage_handler(on_corrupt, corrupt)
    sizes: dict[str, tuple[int, int]] = {}
    state, action = _Range(), _Range()
    instructions: dict[str, None] = {}
    episodes = steps = 0
    told(0, len(dataset))
    for episode in dataset.episodes(damage):
        try:
            sizes.update(_sizes(episode, sizes))
        except DatasetError as error:
            damage(error)
        else:
            episodes, steps = episodes + 1, steps + len(episode)
            state.add(episode.state)
            action.add(episode.action)
            instructions[episode.instruction] = None
        told(min(episode.index + 1, len(dataset)), len(dataset))
    return {
        "format": dataset.format,
        "name": dataset.name,
        "episodes": episodes,
        "steps": steps,
        "rate_hz": dataset.rate_hz,
        "cameras": {camera: list(sizes[camera]) for camera in dataset.cameras if camera in sizes},
        "state": state.facts(dataset.state_names),
        "action": action.facts(dataset.action_names),
        "instructions": list(instructions),
        "corrupt": corrupt,
    }


def text(facts: dict[str, Any]) -> str:
    """The description for a person."""
    rate = "rate not recorded" if facts["rate_hz"] is None else f"{facts['rate_hz']:g} steps a second"
    episodes, steps = counted(facts["episodes"], "episode"), counted(facts["steps"], "step")
    lines = [f"{facts['name']}: {facts['format']}, {episodes}, {steps}, {rate}"]
    lines += _block("cameras", (f"{name}  {height}×{width}" for name, (height, width) in facts["cameras"].items()))
    for name in ("state", "action"):
        lines += _block(name, _ranges(facts[name]))
    for name in ("instructions", "corrupt"):
        lines += _block(name, _first(facts[name]))
    return "\n".join(lines)


class _Range:
    """The least and the largest value of each dimension of what was added."""

    def __init__(self) -> None:
        self._low: NDArray[np.float32] | None = None
        self._high: NDArray[np.float32] | None = None

    def add(self, values: Floats) -> None:
        low, high = values.min(axis=0), values.max(axis=0)
        self._low = low if self._low is None else np.minimum(self._low, low)
        self._high = high if self._high is None else np.maximum(self._high, high)

    def facts(self, names: tuple[str, ...]) -> dict[str, Any]:
        low = [] if self._low is None else self._low.tolist()
        high = [] if self._high is None else self._high.tolist()
        return {"dims": len(low), "min": low, "max": high, "names": list(names)}


def _sizes(episode: Episode, before: dict[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """(height, width) of each camera's frames; `DatasetError` where one does not decode or has another size."""
    found = dict(before)
    for camera, frames in episode.frames.items():
        for step in range(len(frames)):
            height, width = frames[step].shape[:2]
            if found.setdefault(camera, (height, width)) != (height, width):
                was = "×".join(map(str, found[camera]))
                raise DatasetError(
                    f"{episode.where}, {camera!r}, step {step}: a frame of {height}×{width}, those before are {was}"
                )
    return found


def _ranges(vector: dict[str, Any]) -> list[str]:
    names = vector["names"] or [str(dimension) for dimension in range(vector["dims"])]
    width = max(map(len, names), default=0)
    rows = zip(names, vector["min"], vector["max"], strict=False)
    return [f"{name.ljust(width)}  {low:>10.4g} to {high:>10.4g}" for name, low, high in rows]


def _first(items: list[str]) -> list[str]:
    more = [f"and {len(items) - _SHOWN} more (--json FILE has all)"] if len(items) > _SHOWN else []
    return [str(len(items)), *items[:_SHOWN], *more] if items else ["none"]


def _block(title: str, rows: Iterable[str]) -> list[str]:
    """Rows beside their title."""
    rows = list(rows) or ["none"]
    return [f"{head:<{_MARGIN}}{row}" for head, row in zip([title, *[""] * (len(rows) - 1)], rows, strict=True)]


def counted(count: int, what: str) -> str:
    """ "1 step", "2 steps"."""
    return f"{count} {what}{'' if count == 1 else 's'}"
