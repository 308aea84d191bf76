"""What a bundle's manifest says: the policy's interface, its files, and how it was verified."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import msgspec

from edge_runtime.targets import FLOATS, PRECISIONS


class CameraSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A camera slot of the policy: the uint8 frame [height, width, 3] that the image graph takes.

    `missing`: what the model was taught for a frame that is not there: `mask` its tokens, show it `black`, or `refuse`.
    """

    name: str
    height: int
    width: int
    missing: Literal["mask", "black", "refuse"] = "mask"


class VectorSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A state or an action: `names` and `units` per dimension, and the width the model pads it to.

    A unit is "" where the checkpoint does not record it. A policy that reads no state has one of no dimensions.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    padded: int

    @property
    def dims(self) -> int:
        return len(self.names)


class Normalisation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Between the robot's units x and the model's y, per dimension, by statistics of the training data.

    `mean_std`, a = mean, b = standard deviation: y = (x - a) / (b + eps_in), x = y·(b + eps_out) + a.
    `quantiles` and `min_max`, a = low, b = high: y = 2·(x - a) / (b - a + eps_in) - 1,
    x = (y + 1) / 2 · (b - a + eps_out) + a. `none`: nothing.
    Where `mask` is false, a dimension is taken as it is; `clip` limits y to ±clip on the way in (0: no limit).
    """

    kind: Literal["mean_std", "quantiles", "min_max", "none"]
    a: tuple[float, ...] = ()
    b: tuple[float, ...] = ()
    eps_in: float = 0.0
    eps_out: float = 0.0
    mask: tuple[bool, ...] = ()
    clip: float = 0.0


class FlowSpec(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag="flow", tag_field="kind"
):
    """Flow matching head: Euler steps from t_start to t_end; x starts as normal noise [horizon, action.padded].

    The step graph reads the outputs of the prefix graph that `cache` names. `constants` (a safetensors file) holds per
    step count `cond.<steps>` float32 [steps, ...]: what the step graph must know of t, for every count up to `steps`.
    `committed`: how many first rows of a chunk it was taught to be given clean. Where it is above 0, the step graph
    takes `committed` bool [1, horizon], which rows are, and `clean`, what it must know of t_end; constants hold that
    as `cond.clean` float32 [1, ...]. It is written where it says something: other bundles are what they were.
    """

    steps: int
    t_start: float
    t_end: float
    cache: tuple[str, ...]
    noise: Literal["normal"] = msgspec.field(default_factory=lambda: "normal")  # a factory: it is always written
    committed: int = 0


class BinScheme(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="bins", tag_field="kind"):
    """One token a number. `constants` holds `values` float32 [len(token_ids)]: what each token means, normalised.

    `terminate`: each action is led by one more token, whose bin 0 means that the task goes on (RT-2).
    """

    terminate: bool = False


class IntegerScheme(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="integers", tag_field="kind"):
    """An action is spelt as integers with spaces between them (RT-2), until `stop`.

    `constants` holds `values` float32 [bins]: what each integer means, normalised. `terminate` as in `BinScheme`.
    """

    stop: int
    terminate: bool = False


class FastScheme(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="fast", tag_field="kind"):
    """FAST (https://arxiv.org/abs/2501.09747): byte-pair tokens of rounded DCT coefficients, `tokenizer` reads them.

    The model writes `prefix`, FAST tokens, `stop`. FAST token = `top` - token. A coefficient is a character of
    ord(c) + `min_token`, divided by `scale`; they stand [horizon, dims], and the inverse DCT-II (orthonormal) runs over
    time. What the reference makes of a malformed sequence (`on_malformed = "pad"`): `relaxed` cuts or fills it with
    zero coefficients, else the whole chunk is zero.
    """

    tokenizer: str
    prefix: tuple[int, ...]
    stop: int
    top: int
    min_token: int
    scale: float
    relaxed: bool


class TokenSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="tokens", tag_field="kind"):
    """Discrete action tokens, decoded greedily one by one, at most `max_new` of them.

    `constants` holds `token_ids` int64 [n]: the token that each output of the restricted head stands for. The prefill
    graph's `keys` and `values` [depth, 1, K, L + max_new, D] have room for what is generated: the decode graph answers
    with one token's `new_keys`, `new_values`, and the runtime writes them there.
    `on_malformed`: what a sequence that means nothing is: a `fault`, or what the reference makes of it (`pad`).
    """

    max_new: int
    scheme: BinScheme | IntegerScheme | FastScheme
    on_malformed: Literal["fault", "pad"] = "fault"


class RegressionSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="regression", tag_field="kind"):
    """One graph writes the whole chunk at once (OpenVLA-OFT's parallel decoding with an L1 head)."""


Head = FlowSpec | TokenSpec | RegressionSpec
"""How actions come out of the model; `edge_runtime/policies/<kind>.py` runs it."""

GRAPHS: dict[type[Head], tuple[str, ...]] = {
    FlowSpec: ("image", "prefix", "step"),
    TokenSpec: ("image", "prefill", "decode"),
    RegressionSpec: ("image", "model"),
}
"""The graphs of each kind of head."""
GUIDE = "guide"
"""The graph that a flow head may have beside them: one step and how to pull it (`export.guide`)."""


class PromptSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How an instruction becomes tokens: `template` has {instruction}; a prompt of more than `max_tokens` is refused.

    `clean`: what is done to the instruction first, in this order. {state} in the template is the normalised state in
    words: the number of each dimension's bin out of 256 over [-1, 1], with spaces between. With `apart`, what stands
    behind {instruction} is tokenized for itself. `end_id` is appended to a prompt that does not end in it. `vocab`: how
    many rows the model's token table has, 0 where that is not known.
    """

    template: str
    max_tokens: int
    bos_id: int | None
    pad_id: int
    clean: tuple[Literal["strip", "underscore", "newline", "lower"], ...] = ()
    apart: bool = False
    end_id: int | None = None
    vocab: int = 0

    @property
    def reads_state(self) -> bool:
        return "{state}" in self.template


class PoseVector(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a state or an action says where the end effector is: x, y, z, three numbers of rotation, the gripper's.

    `metres` and `radians` are what a 1 stands for. `rotation`: `euler_xyz` are angles about the fixed x, y and z axes
    in this order, R = Rz·Ry·Rx; `axis_angle` is the axis times the angle. `closed` and `open` are the numbers of a
    gripper that is closed and open, with everything between in proportion.
    """

    rotation: Literal["euler_xyz", "axis_angle"]
    closed: tuple[float, ...]
    open: tuple[float, ...]
    metres: float = 1.0
    radians: float = 1.0

    @property
    def dims(self) -> int:
        return 6 + len(self.open)


class PoseSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a policy in end-effector space means by its numbers. Whether they are deltas, `control_mode` says.

    A delta (Δp, ΔR) leads from (p, R) to (p + Δp, ΔR·R) in the axes of the `base`, to (p + R·Δp, R·ΔR) in those of the
    `tool`. Gripper and state are never deltas. `level`: the rotation [3, 3], row by row, that the policy calls none; a
    tool at rotation T is told as R = T·levelᵀ. Empty: that of the base.
    """

    frame: Literal["base", "tool"]
    action: PoseVector
    state: PoseVector | None = None
    level: tuple[float, ...] = ()


class PolicySpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the runtime must know to run the policy and to see whether this robot can serve it.

    `relative`: which action dimensions the model gives relative to the state it was asked with (none where empty); the
    runtime adds that state, so that what reaches the robot is as `control_mode` says. `pose`: null where actions and
    state are joint positions.
    """

    cameras: tuple[CameraSpec, ...]
    state: VectorSpec
    action: VectorSpec
    horizon: int
    dt_s: float
    control_mode: Literal["absolute", "delta"]
    head: Head
    prompt: PromptSpec
    state_normalisation: Normalisation
    action_normalisation: Normalisation
    relative: tuple[bool, ...] = ()
    pose: PoseSpec | None = None


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


class Cost(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one run of a graph costs: `parameters` in `precision`, `bytes` read of them, `flops` (2 a multiply-add)."""

    parameters: int
    precision: str
    bytes: int
    flops: int


class Quantization(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a bundle was made of the float32 bundle whose seal is `origin`, for `target` (`edge_runtime.targets`).

    `parts`: part of the model → its precision; `floats`: part → the type of its floats, those between integers
    included; `kept`: how many layers stayed in floating point although their part is quantized. `ranges`: how the
    levels of activations were chosen. `table` is the file with every layer's precision, input range and sensitivity.
    """

    target: str
    origin: str
    parts: dict[str, str]
    floats: dict[str, str]
    ranges: Literal["max", "percentile", "smooth"]
    block: int
    kept: int
    table: str


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """manifest.json. `graphs` maps component → file. `tokenizer` is "" in a bundle that takes tokens and no words.

    `verdict` is that of `accuracy.json`: "accepted" is a fail that a person has accepted. `probes` is the file of
    observations with the answers that the reference gave (`edge_runtime.probes`). `quantization` is null in a bundle
    of float32. `seal` is the sha256 of the manifest with the seal itself as 64 zeros.
    """

    format: int = 3
    source: Source
    spec: PolicySpec
    graphs: dict[str, str]
    costs: dict[str, Cost]
    constants: str
    tokenizer: str
    accuracy: str
    probes: str
    verdict: Literal["pass", "fail", "accepted"]
    quantization: Quantization | None = None
    files: dict[str, ManifestFile] = {}
    seal: str = ""

    @property
    def has_half(self) -> bool:
        """Whether some floats have 16 bits: ONNX Runtime on a CPU has no bfloat16 and computes float16 in float32."""
        return self.quantization is not None and bool({"bf16", "fp16"} & set(self.quantization.floats.values()))


def impossible(manifest: Manifest) -> str:
    """The first thing in a manifest that cannot be: "field: what is wrong", or "" where nothing is."""
    return next(_impossible(manifest), "")


def _impossible(manifest: Manifest) -> Iterator[str]:
    if manifest.verdict == "fail":
        yield "verdict: it did not pass its accuracy gate; make it again"
    if manifest.quantization is not None:
        yield from _impossible_quantization(manifest.quantization)
    spec = manifest.spec
    wanted = GRAPHS[type(spec.head)]
    more = {GUIDE} & set(manifest.graphs) if isinstance(spec.head, FlowSpec) else set()
    for field, found in (("graphs", manifest.graphs), ("costs", manifest.costs)):
        if set(found) != {*wanted, *more}:
            yield f"{field}: has {', '.join(found)}; this head needs {', '.join(wanted)}"
    yield from _impossible_cameras(spec)
    positive = {
        "spec.horizon": spec.horizon,
        "spec.dt_s": spec.dt_s,
        "spec.prompt.max_tokens": spec.prompt.max_tokens,
    }
    for field, value in positive.items():
        if not 0 < value < 1e6:
            yield f"{field}: {value} is not a positive number"
    if 0 < spec.dt_s < 1e-4:
        yield f"spec.dt_s: {spec.dt_s} is shorter than any control period"
    if spec.prompt.template.count("{instruction}") != 1 or spec.prompt.template.count("{state}") > 1:
        yield "spec.prompt.template: must have {instruction} once and {state} at most once"
    if spec.prompt.reads_state and not spec.state.dims:
        yield "spec.prompt.template: has {state}, and the policy reads none"
    yield from _impossible_head(spec)
    yield from _impossible_vector("state", spec.state, spec.state_normalisation, least=0)
    yield from _impossible_vector("action", spec.action, spec.action_normalisation, least=1)
    if len(spec.relative) not in (0, spec.action.dims) or (any(spec.relative) and spec.state.dims < spec.action.dims):
        yield f"spec.relative: {len(spec.relative)} flags for {spec.action.dims} actions and {spec.state.dims} states"
    if spec.pose is not None:
        yield from _impossible_pose(spec, spec.pose)


def _impossible_pose(spec: PolicySpec, pose: PoseSpec) -> Iterator[str]:
    if pose.action.dims != spec.action.dims or len(pose.action.open) != 1:
        yield f"spec.pose.action: is a pose and one number of a gripper, the action has {spec.action.dims} dimensions"
    if (pose.state.dims if pose.state else 0) != spec.state.dims:
        yield f"spec.pose.state: does not say how the pose stands in {spec.state.dims} dimensions"
    if pose.frame == "tool" and spec.control_mode == "absolute":
        yield "spec.pose.frame: a pose that is no delta cannot be told in the axes of the tool"
    if len(pose.level) not in (0, 9) or not all(math.isfinite(x) for x in pose.level) or not _is_rotation(pose.level):
        yield "spec.pose.level: is no rotation [3, 3]"
    for name, vector in (("action", pose.action), ("state", pose.state)):
        if vector is not None:
            yield from _impossible_pose_vector(f"spec.pose.{name}", vector)


def _impossible_pose_vector(field: str, vector: PoseVector) -> Iterator[str]:
    for key, unit in (("metres", vector.metres), ("radians", vector.radians)):
        if not 0 < unit < 1e3:
            yield f"{field}.{key}: {unit} is not a positive number"
    ends = list(zip(vector.closed, vector.open, strict=False))
    if len(vector.closed) != len(vector.open) or any(not math.isfinite(a - b) or a == b for a, b in ends):
        yield f"{field}: a gripper that is closed cannot be told from an open one"


def _is_rotation(rows: tuple[float, ...]) -> bool:
    """Rows of length 1 at right angles, the third of which is the cross product of the others (none: no rotation)."""
    if not rows:
        return True
    a, b, c = rows[:3], rows[3:6], rows[6:]
    cross = (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])
    return abs(math.hypot(*a) - 1) < 1e-6 and abs(math.hypot(*b) - 1) < 1e-6 and math.dist(cross, c) < 1e-6


def _impossible_quantization(quantization: Quantization) -> Iterator[str]:
    for field, found, known in (("parts", quantization.parts, PRECISIONS), ("floats", quantization.floats, FLOATS)):
        for part, value in found.items():
            if value not in known:
                yield f"quantization.{field}.{part}: {value!r} is not one of {', '.join(known)}"


def _impossible_cameras(spec: PolicySpec) -> Iterator[str]:
    if not spec.cameras:
        yield "spec.cameras: there is none"
    for i, camera in enumerate(spec.cameras):
        if not camera.name or camera.name in {c.name for c in spec.cameras[:i]}:
            yield f"spec.cameras[{i}].name: {camera.name!r} is empty or used twice"
        if not 1 <= camera.height <= 1 << 14 or not 1 <= camera.width <= 1 << 14:
            yield f"spec.cameras[{i}]: {camera.width}×{camera.height} is not a size of a frame"


def _impossible_head(spec: PolicySpec) -> Iterator[str]:
    head = spec.head
    if isinstance(head, FlowSpec):
        if not 0 < head.steps < 1e4:
            yield f"spec.head.steps: {head.steps} is not a positive number"
        if not head.cache:
            yield "spec.head.cache: the step graph reads nothing of the prefix"
        if head.t_start == head.t_end or not math.isfinite(head.t_end - head.t_start):
            yield f"spec.head: runs from {head.t_start} to {head.t_end}"
        if not 0 <= head.committed < spec.horizon:
            yield f"spec.head.committed: {head.committed} of {spec.horizon} actions; at least one must be open"
    elif isinstance(head, TokenSpec):
        if not 0 < head.max_new < 1e5:
            yield f"spec.head.max_new: {head.max_new} is not a positive number"
        scheme = head.scheme
        if isinstance(scheme, BinScheme) and head.max_new != spec.horizon * (spec.action.dims + scheme.terminate):
            yield f"spec.head.max_new: {head.max_new} tokens are not {spec.horizon} actions of {spec.action.dims}"
        if isinstance(scheme, FastScheme) and not scheme.scale > 0:
            yield f"spec.head.scheme.scale: {scheme.scale} is not a positive number"


def _impossible_vector(name: str, vector: VectorSpec, norm: Normalisation, least: int) -> Iterator[str]:
    if not least <= vector.dims <= vector.padded:
        yield f"spec.{name}.names: {vector.dims} dimensions do not fit into {vector.padded}"
    if len(vector.units) != vector.dims:
        yield f"spec.{name}.units: {len(vector.units)} units for {vector.dims} names"
    if len(set(vector.names)) != vector.dims:
        yield f"spec.{name}.names: one is used twice"
    field, wanted = f"spec.{name}_normalisation", 0 if norm.kind == "none" else vector.dims
    if len(norm.a) != wanted or len(norm.b) != wanted or len(norm.mask) not in (0, wanted):
        yield f"{field}: {len(norm.a)}, {len(norm.b)} and {len(norm.mask)} entries for {wanted} dimensions"
    if not all(math.isfinite(x) for x in (*norm.a, *norm.b, norm.eps_in, norm.eps_out, norm.clip)) or norm.clip < 0:
        yield f"{field}: a number is not finite, or clip is negative"
    mask = norm.mask or (True,) * len(norm.a)
    spans = norm.b if norm.kind == "mean_std" else tuple(b - a for a, b in zip(norm.a, norm.b, strict=False))
    if name == "state" and any(span + norm.eps_in <= 0 for span, used in zip(spans, mask, strict=False) if used):
        yield f"{field}: divides by zero or less"
