"""What a bundle's manifest says: the policy's interface, its files, and how it was verified."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Literal

import msgspec


class CameraSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A camera slot of the policy: the uint8 frame [height, width, 3] that the image graph takes."""

    name: str
    height: int
    width: int


class VectorSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A state or an action: `names` and `units` per dimension, and the width the model pads it to.

    A unit is "" where the checkpoint does not record it.
    """

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
    """Flow matching head: Euler steps from t_start to t_end; x starts as normal noise [horizon, action.padded].

    `constants` (a safetensors file) holds per step count `cond.<steps>` float32 [steps, ...]: what the step graph needs
    to know of t, for every step count up to `steps`.
    """

    steps: int
    t_start: float
    t_end: float
    noise: Literal["normal"] = "normal"


class PromptSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How an instruction becomes tokens: `template` has {instruction}; a prompt of more than `max_tokens` is refused.

    What stands before {instruction} is tokenized with it, what stands behind it for itself.
    """

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


class ManifestFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of the bundle."""

    size: int
    sha256: str


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the bundle came from. `checkpoint_sha256` is of the weights file; `rate`: who said what `dt_s` is."""

    family: str
    layout: str
    checkpoint_sha256: str
    rate: Literal["given", "checkpoint", "assumed"]
    calibration_sha256: str | None = None


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """manifest.json. `policy` is the file in `edge_runtime/policies` that runs it; `graphs` maps component → file.

    `verdict` is that of `accuracy.json`; `seal` is the sha256 of the manifest with the seal itself as 64 zeros.
    """

    format: int = 1
    policy: str
    source: Source
    spec: PolicySpec
    graphs: dict[str, str]
    constants: str
    tokenizer: str
    accuracy: str
    precision: dict[str, str]
    parameters: dict[str, int]
    verdict: Literal["pass", "fail"]
    files: dict[str, ManifestFile] = {}
    seal: str = ""


def impossible(manifest: Manifest) -> str:
    """The first thing in a manifest that cannot be: "field: what is wrong", or "" where nothing is."""
    return next(_impossible(manifest), "")


def _impossible(manifest: Manifest) -> Iterator[str]:
    if manifest.verdict != "pass":
        yield "verdict: it did not pass its accuracy gate; export it again"
    if not re.fullmatch(r"[a-z][a-z0-9_]*", manifest.policy):
        yield f"policy: {manifest.policy!r} is not the name of a policy"
    spec = manifest.spec
    if not spec.cameras:
        yield "spec.cameras: there is none"
    for i, camera in enumerate(spec.cameras):
        if not camera.name or camera.name in {c.name for c in spec.cameras[:i]}:
            yield f"spec.cameras[{i}].name: {camera.name!r} is empty or used twice"
        if not 1 <= camera.height <= 1 << 14 or not 1 <= camera.width <= 1 << 14:
            yield f"spec.cameras[{i}]: {camera.width}×{camera.height} is not a size of a frame"
    positive = {
        "spec.horizon": spec.horizon,
        "spec.dt_s": spec.dt_s,
        "spec.flow.steps": spec.flow.steps,
        "spec.prompt.max_tokens": spec.prompt.max_tokens,
    }
    for field, value in positive.items():
        if not 0 < value < 1e6:
            yield f"{field}: {value} is not a positive number"
    if 0 < spec.dt_s < 1e-4:
        yield f"spec.dt_s: {spec.dt_s} is shorter than any control period"
    if spec.flow.t_start == spec.flow.t_end:
        yield f"spec.flow: runs from {spec.flow.t_start} to {spec.flow.t_end}"
    if spec.prompt.template.count("{instruction}") != 1:
        yield "spec.prompt.template: must have {instruction} once"
    yield from _impossible_vector("state", spec.state, spec.state_normalisation)
    yield from _impossible_vector("action", spec.action, spec.action_normalisation)


def _impossible_vector(name: str, vector: VectorSpec, normalisation: Normalisation) -> Iterator[str]:
    if not 1 <= vector.dims <= vector.padded:
        yield f"spec.{name}.names: {vector.dims} dimensions do not fit into {vector.padded}"
    if len(vector.units) != vector.dims:
        yield f"spec.{name}.units: {len(vector.units)} units for {vector.dims} names"
    if len(set(vector.names)) != vector.dims:
        yield f"spec.{name}.names: one is used twice"
    field, wanted = f"spec.{name}_normalisation", 0 if normalisation.kind == "none" else vector.dims
    if len(normalisation.a) != wanted or len(normalisation.b) != wanted:
        yield f"{field}: {len(normalisation.a)} and {len(normalisation.b)} numbers for {wanted} dimensions"
    epsilons = (normalisation.eps_in, normalisation.eps_out)
    if not all(math.isfinite(x) for x in (*normalisation.a, *normalisation.b, *epsilons)):
        yield f"{field}: a number is not finite"
    if any(b + normalisation.eps_in <= 0 for b in normalisation.b):
        yield f"{field}.b: divides by zero or less"
