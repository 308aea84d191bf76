"""The policy bundle: what export hands to the robot, and how the robot checks it before it trusts it.

A directory with `manifest.json`, one ONNX file a graph, `tokenizer.json`, `accuracy.json` and the files they need.
The manifest names every file with its size and sha256; a bundle with a missing, changed or unlisted file is refused.
"""

from __future__ import annotations

from typing import Literal

import msgspec

FORMAT = 1


class CameraSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A camera slot of the policy: the uint8 frame [height, width, 3] that the image graph takes."""

    name: str
    height: int
    width: int


class VectorSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A state or an action: `names` and `units` per dimension, and the width the model pads it to."""

    names: tuple[str, ...]
    units: tuple[str, ...]
    padded: int

    @property
    def dims(self) -> int:
        return len(self.names)


class Normalisation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`mean_std`: y = (x - a) / (b + eps_in), x = y·(b + eps_out) + a. `none`: nothing. Later schemes add rows here."""

    kind: Literal["mean_std", "none"]
    a: tuple[float, ...] = ()
    b: tuple[float, ...] = ()
    eps_in: float = 0.0
    eps_out: float = 0.0


class FlowSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Flow matching head: Euler steps from t_start to t_end; x starts as standard normal noise [horizon, action.padded].

    `constants` (a safetensors file) holds per step count `cond.<steps>` [steps, ...]: what the step graph needs to know of t.
    """

    steps: int
    t_start: float
    t_end: float
    noise: Literal["normal"] = "normal"


class PromptSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How an instruction becomes tokens: `template` has {instruction}; a prompt of more than `max_tokens` is refused."""

    template: str
    max_tokens: int
    bos_id: int | None
    pad_id: int


class PolicySpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the runtime must know to run the policy and to see whether this robot can serve it."""

    cameras: tuple[CameraSpec, ...]
    state: VectorSpec
    action: VectorSpec
    horizon: int
    dt_s: float
    control_mode: Literal["absolute", "delta"]
    flow: FlowSpec
    prompt: PromptSpec
    state_normalisation: Normalisation
    action_normalisation: Normalisation
