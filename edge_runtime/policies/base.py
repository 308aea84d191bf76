"""The policy contract: an observation in, a chunk of actions out.

A policy file `edge_runtime/policies/<kind>.py` defines one class named `Runner` that satisfies `Policy`; a bundle names
its kind. Behaviour is added by wrapping: whatever has `infer` is a policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_runtime.bundle_spec import PolicySpec

Frame = NDArray[np.uint8]
Floats = NDArray[np.float32]
Seam = Literal["blend", "ensemble", "committed", "guided", "none"]
"""How a new chunk takes over from the running one. `committed` and `guided` are the policy's business: it makes a chunk
that goes on from `Ahead`. The others are made of finished chunks (docs/motion.md)."""


@dataclass(frozen=True)
class Prompt:
    """An instruction as the model reads it: tokens int64 [max_tokens] and which of them count, bool [max_tokens]."""

    instruction: str
    tokens: NDArray[np.int64]
    mask: NDArray[np.bool_]


@dataclass
class Ahead:
    """What the arm does already while a policy thinks, for one whose chunk is to go on from it. Reused, in place.

    Row k of `actions` [horizon, dims], in the robot's own units, is where the running chunk is when row k of the new
    one is due.
    """

    actions: Floats
    committed: int = 0
    """Rows that will have been sent by the time the new chunk is there: it cannot change them any more."""
    known: int = 0
    """Rows that the running chunk has at all; `actions` means nothing behind them."""


@dataclass
class Observation:
    """What the robot sees now and what it was told.

    `frames`: camera name → uint8 RGB [height, width, 3] of that camera's `CameraSpec`; one that is left out is masked.
    `state`: [dims] in the robot's own units, order of `PolicySpec.state`.
    """

    frames: Mapping[str, Frame]
    state: Floats
    prompt: Prompt
    ahead: Ahead | None = None
    """Of the running chunk, where there is one and the seam between chunks is the policy's business."""


class Policy(Protocol):
    """What the inference thread asks of a policy. One thread calls `infer`; any thread may call `prompt`.

    Some policies have more, which their caller asks for by `getattr`:
    `terminated`: the last chunk said that the task is done.
    `frames_fresh`: the last chunk was computed from the frames of its own observation. Where it is false, it was
    computed from those of the last observation for which it was true, and of this one it knows the state alone: what is
    due when is counted from this observation, how old the sensors are from that one (`Chunk.capture_ns`).
    `renew()`: the next chunk is computed from the frames of its own observation, as for every new prompt: said where a
    new request has begun.
    `beyond`: chunks in all whose `Ahead.committed` was more than the policy was trained with. It went on from as many
    of the first of these rows as it was trained with, and made the others anew.
    """

    @property
    def spec(self) -> PolicySpec: ...

    @property
    def frames(self) -> Mapping[str, Frame]:
        """The model's own input buffers, one a camera: frames written there and passed to `infer` are not copied."""
        ...

    def prompt(self, instruction: str) -> Prompt:
        """Tokenize an instruction; raise `InstructionError` where the model cannot take it."""
        ...

    def infer(self, observation: Observation, chunk_out: Floats) -> None:
        """Write the actions [horizon, dims] that follow `observation`, in the robot's own units, into `chunk_out`."""
        ...
