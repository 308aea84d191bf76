"""The openpi layout of pi0, pi0.5 and pi0-FAST: a directory → `Checkpoint`.

model.safetensors (published names), config.json and assets/<id>/norm_stats.json. It says neither which of the three a
checkpoint is (the tensors do) nor sizes, cameras' frames, chunk of a pi0-FAST, tokenizer, rate or whether actions are
relative: named variants, a dims.json and the command line do. openpi's own pi0-FAST is a JAX model; the layout here is
its weights under the names of the PyTorch models.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edge_runtime.bundle_spec import (
    CameraSpec,
    FlowSpec,
    Head,
    Normalisation,
    PolicySpec,
    PromptSpec,
    TokenSpec,
    VectorSpec,
)
from export.checkpoint import Checkpoint
from export.errors import CheckpointError
from export.image import Preprocess
from export.json_file import read_json
from export.layouts import paligemma
from export.layouts.conventions import LIBERO_RAW, for_sizes
from export.layouts.fast import FILE, read_fast
from export.layouts.given import Given
from export.layouts.options import Options
from export.layouts.text import open_tokenizer
from export.layouts.vectors import NO_STATE, NONE, numbered, rate, vector
from export.models.vit import SIGLIP
from export.stored import Stored, open_safetensors

WEIGHTS = "model.safetensors"
EPS = 1e-6
"""openpi `transforms.py`: added to standard deviations and ranges, both ways."""
SLOTS = {
    "pi0": ("base_0_rgb", "left_wrist_0_rgb", "right_wrist_0_rgb"),
    "pi05": ("base_0_rgb", "left_wrist_0_rgb", "right_wrist_0_rgb"),
    "pi0_fast": ("base_0_rgb", "base_1_rgb", "wrist_0_rgb"),
}
"""The fixed camera slots of each model (openpi `policies/droid_policy.py`)."""
MAX_TOKENS = {"pi0": 48, "pi05": 200, "pi0_fast": 250}
STEPS = 10
MAX_NEW = 256
"""openpi's `max_decoding_steps`."""


class Config(msgspec.Struct):
    """config.json as openpi's conversion to PyTorch writes it."""

    action_dim: int
    action_horizon: int
    paligemma_variant: str = "gemma_2b"
    action_expert_variant: str = "gemma_300m"


class Statistics(msgspec.Struct):
    mean: tuple[float, ...]
    std: tuple[float, ...]
    q01: tuple[float, ...] | None = None
    q99: tuple[float, ...] | None = None


class NormStats(msgspec.Struct):
    norm_stats: dict[str, Statistics]


@dataclass(frozen=True)
class OpenpiGiven(Given):
    """What the directory, its dims and the person say."""

    family: str
    config: Config
    sizes: paligemma.Sizes

    @property
    def max_tokens(self) -> int:
        return self.options.max_tokens or self.sizes.max_token_len or MAX_TOKENS[self.family]

    @property
    def tells_state(self) -> bool:
        """Whether the model is told the state at all: openpi's pi0.5 for libero is not."""
        return self.family != "pi05" or self.sizes.discrete_state_input


def read(directory: Path, options: Options) -> Checkpoint:
    """Read everything but the weights."""
    stored = open_safetensors(directory / WEIGHTS)
    config, sizes = read_json(directory / "config.json", Config), paligemma.read_sizes(Given(directory, options).dims)
    given = OpenpiGiven(directory, options, _family(stored), config, sizes)
    asset, statistics = _statistics(directory, options.statistics)
    if given.family != "pi0_fast" and (sizes.chunk or 0) > config.action_horizon:
        raise CheckpointError(
            f"{given.path}: action_horizon is {config.action_horizon}, the dims say a chunk of {sizes.chunk}"
        )
    model, head, prompt, files = _fast(given) if given.family == "pi0_fast" else _flow(given)
    state = _vector(statistics, "state", sizes.state_dim, given)
    if not given.tells_state and not any(sizes.relative_actions):
        state = NO_STATE
    action = _vector(statistics, "actions", sizes.action_dim, given)
    pose = for_sizes(LIBERO_RAW, action.dims, state.dims) if asset.rpartition("/")[2].startswith("libero") else None
    dt_s, who = rate(options.fps, sizes.fps)
    quantiles = given.family != "pi0"
    spec = PolicySpec(
        cameras=_cameras(given),
        state=state,
        action=action,
        horizon=sizes.chunk or given.config.action_horizon,
        dt_s=dt_s,
        control_mode="absolute" if pose is None else "delta",
        head=head,
        prompt=prompt,
        state_normalisation=_normalisation(statistics, "state", state.dims, quantiles),
        action_normalisation=_normalisation(statistics, "actions", action.dims, quantiles),
        relative=sizes.relative_actions,
        pose=pose,
    )
    return Checkpoint(
        family=given.family,
        layout="openpi",
        config=model,
        spec=spec,
        image=Preprocess(model.vision.image, "pil-bilinear", "centre"),
        stored=stored,
        tokenizer=given.tokenizer,
        rate=who,
        files=files,
        time="accumulated",
    )


def _family(stored: Stored) -> str:
    """Which model the tensors are of; config.json does not say."""
    if "state_proj.weight" in stored.names:
        return "pi0"
    if "time_mlp_in.weight" in stored.names:
        return "pi05"
    if any(name.startswith("paligemma_with_expert.paligemma.") for name in stored.names):
        return "pi0_fast"
    raise CheckpointError(
        f"{stored.files[0]}: has neither state_proj (pi0) nor time_mlp_in (pi05) nor a PaliGemma (pi0_fast); "
        "it is no openpi model that this export knows"
    )


def _flow(given: OpenpiGiven) -> tuple[Any, Head, PromptSpec, dict[str, Path]]:
    config, sizes = given.config, given.sizes
    model = paligemma.flow_config(
        given.path,
        sizes,
        variants=(config.paligemma_variant, config.action_expert_variant),
        adaptive=given.family == "pi05",
        horizon=sizes.chunk or config.action_horizon,
        state_padded=config.action_dim,
        action_padded=config.action_dim,
    )
    steps = given.options.steps or sizes.steps or STEPS
    cache, committed = ("keys", "values", "prefix_mask"), given.options.committed or 0
    head = FlowSpec(steps=steps, t_start=1.0, t_end=0.0, cache=cache, committed=committed)
    told = given.family == "pi05" and given.tells_state
    template = "Task: {instruction}, State: {state};\nAction: " if told else "{instruction}\n"
    prompt = paligemma.prompt(
        given.tokenizer, sizes.vocab, template, given.max_tokens, clean=paligemma.SPACED, apart=not told
    )
    return model, head, prompt, {}


def _fast(given: OpenpiGiven) -> tuple[Any, Head, PromptSpec, dict[str, Path]]:
    sizes, tokenizer = given.sizes, given.tokenizer
    text = open_tokenizer(tokenizer, sizes.vocab)
    fast = read_fast(given.options.fast_tokenizer, text, tokenizer, vocab=sizes.vocab, skip=sizes.skip, relaxed=False)
    model = paligemma.token_config(
        given.path, sizes, variant=given.config.paligemma_variant, token_ids=fast.token_ids, decode_offset=1
    )
    prompt = paligemma.prompt(
        tokenizer,
        sizes.vocab,
        "Task: {instruction}, State: {state};\n",
        given.max_tokens,
        clean=("lower", "strip", "underscore"),
    )
    return model, TokenSpec(max_new=sizes.max_decode or MAX_NEW, scheme=fast.scheme), prompt, {FILE: fast.file}


def _cameras(given: OpenpiGiven) -> tuple[CameraSpec, ...]:
    """The slots that the robot has frames for. A slot without is masked in pi0 and pi0.5, which changes nothing, so it
    is left out; pi0-FAST was taught to see it black, so it stays."""
    sized = {name: size for name, size in (given.sizes.images or {}).items() if size is not None}
    known: dict[str, tuple[int, int]] = {**sized, **given.options.cameras}
    slots: tuple[str, ...] = SLOTS[given.family]
    if given.sizes.images and not set(given.sizes.images) <= set(slots):
        slots = tuple(given.sizes.images)
    if given.family != "pi0_fast":
        kept = [name for name in slots if name in known] or list(slots)
        return tuple(CameraSpec(name, *known.get(name, (0, 0))) for name in kept)
    if given.options.cameras and not set(given.options.cameras) & set(slots):
        slots = tuple(given.options.cameras)
    black = (given.sizes.vision or SIGLIP["so400m"]).image
    size = (black, black) if known else (0, 0)
    return tuple(CameraSpec(name, *known.get(name, size), missing="black") for name in slots)


def _statistics(directory: Path, asset: str | None) -> tuple[str, dict[str, Statistics]]:
    """An id and its assets/<id>/norm_stats.json, of the one id that there is or of the given one."""
    assets = directory / "assets"
    found = {str(path.parent.relative_to(assets)): path for path in sorted(assets.rglob("norm_stats.json"))}
    if not found:
        raise CheckpointError(f"{assets}: has no norm_stats.json; copy the checkpoint's assets folder too")
    if asset is None and len(found) > 1:
        raise CheckpointError(f"{assets}: has statistics for {', '.join(found)}; choose one with --statistics")
    if asset is not None and asset not in found:
        raise CheckpointError(f"{assets}: has no statistics for {asset!r}; there are {', '.join(found)}")
    asset = asset or next(iter(found))
    path = found[asset]
    statistics = read_json(path, NormStats).norm_stats
    for key in ("state", "actions"):
        if key not in statistics:
            raise CheckpointError(f"{path}: norm_stats has no {key}; it has {', '.join(statistics)}")
    return asset, statistics


def _vector(statistics: dict[str, Statistics], key: str, dims: int | None, given: OpenpiGiven) -> VectorSpec:
    count, padded = dims or len(statistics[key].mean), given.config.action_dim
    if not 1 <= count <= padded:
        raise CheckpointError(f"{given.path}: {key} of {count} dimensions, action_dim is {padded}; see --dims")
    return vector(numbered(key.removesuffix("s"), count), padded, given.sizes.units)


def _normalisation(statistics: dict[str, Statistics], key: str, dims: int, quantiles: bool) -> Normalisation:
    """Statistics are cut to the robot's dimensions; dimensions beyond them are taken as they are."""
    if not dims:
        return NONE
    found = statistics[key]
    a, b = (found.q01, found.q99) if quantiles else (found.mean, found.std)
    if not a or not b or len(a) != len(b):
        names = "q01 and q99" if quantiles else "mean and std"
        raise CheckpointError(f"norm_stats.json: {key} has no {names} of one length, which this model needs")
    a, b, more = a[:dims], b[:dims], dims - len(a[:dims])
    return Normalisation(
        "quantiles" if quantiles else "mean_std",
        (*a, *(0.0,) * more),
        (*b, *(1.0,) * more),
        eps_in=EPS,
        eps_out=EPS,
        mask=(*(True,) * len(a), *(False,) * more) if more else (),
    )
