"""action_config.json: what a vision-language model's own files do not say of the actions that it was taught to write.

docs/rt2.md describes the file for those who write it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from edge_runtime.bundle_spec import PoseSpec
from export.errors import CheckpointError
from export.json_file import read_json
from export.layouts.options import Options

FILE = "action_config.json"
MAX_BINS = 1024


class ActionConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file. What would move an arm wrongly if it were guessed has no default.

    `scheme`: numbers are spelt as `integers`, or each is one of `tokens`, `token_ids`, that of bin 0 first. Number i is
    the centre of the i-th of `bins` equal parts of [low, high], for each dimension. `terminate`: each action is led by
    one more number, 0 as long as the task goes on. `prompt`: the text that the processor is given. `cameras`: (height,
    width) of each, in the order in which the model sees them. `pose`: what actions in end-effector space mean.
    """

    scheme: Literal["integers", "tokens"]
    low: tuple[float, ...]
    high: tuple[float, ...]
    terminate: bool
    control_mode: Literal["absolute", "delta"]
    bins: int = 256
    token_ids: tuple[int, ...] = ()
    horizon: int = 1
    names: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    prompt: str = "{instruction}"
    max_tokens: int = 48
    fps: float | None = None
    cameras: dict[str, tuple[int, int]] = {}
    pose: PoseSpec | None = None

    @property
    def numbers(self) -> int:
        """How many numbers a chunk is."""
        return self.horizon * (len(self.low) + self.terminate)


def read_actions(directory: Path, options: Options) -> tuple[Path, ActionConfig]:
    """The given file, else the directory's own, and what stands there; `CheckpointError` for what cannot be."""
    path = options.dims or directory / FILE
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such file; no other says what this model's words mean as actions: write it "
            "(docs/rt2.md), or give one with --dims"
        )
    actions = read_json(path, ActionConfig)
    for wrong in _impossible(actions):
        raise CheckpointError(f"{path}: {wrong}")
    return path, actions


def _impossible(actions: ActionConfig) -> Iterator[str]:
    if not actions.low:
        yield "low: an action needs at least one dimension"
    for field in ("high", "names", "units"):
        count = len(getattr(actions, field))
        if count != len(actions.low) and (count or field == "high"):
            yield f"{field}: has {count} entries, low has {len(actions.low)}"
    for i, (low, high) in enumerate(zip(actions.low, actions.high, strict=False)):
        if not low < high or not math.isfinite(high - low):
            yield f"low[{i}] is {low} and high[{i}] {high}: the first must be below the second"
    if len(set(actions.names)) != len(actions.names) or "" in actions.names:
        yield "names: one is empty or used twice"
    if not 2 <= actions.bins <= MAX_BINS:
        yield f"bins: {actions.bins} is none of 2 to {MAX_BINS}"
    if actions.horizon < 1 or actions.max_tokens < 1:
        yield "horizon and max_tokens must be above zero"
    if actions.pose is not None and (actions.pose.action.dims != len(actions.low) or actions.pose.state is not None):
        yield f"pose: an action is a pose and one number of a gripper, low has {len(actions.low)}; no state is told"
    yield from _impossible_tokens(actions)
    if actions.prompt.count("{instruction}") != 1:
        yield "prompt: must have {instruction} once"
    for mark in ("{state}", "<image>", "<bos>"):
        if mark in actions.prompt:
            yield f"prompt: has {mark}; images and <bos> stand before it by themselves, and no state is told"
    for name, size in actions.cameras.items():
        if not name or min(size) < 1:
            yield f"cameras: {name!r} of {size[0]} x {size[1]} (height x width) has no name or no picture"


def _impossible_tokens(actions: ActionConfig) -> Iterator[str]:
    ids = actions.token_ids
    if actions.scheme == "integers":
        if ids:
            yield 'token_ids: integers are spelt as the tokenizer does it; leave them out, or set scheme to "tokens"'
    elif len(ids) != actions.bins:
        yield f"token_ids: has {len(ids)} ids for {actions.bins} bins; name the token of every bin, bin 0 first"
    elif len(set(ids)) != len(ids):
        yield f"token_ids: {next(token for token in ids if ids.count(token) > 1)} stands for two bins"
