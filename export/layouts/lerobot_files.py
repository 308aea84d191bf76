"""The files of the lerobot layout: config.json, the two processor pipelines with their statistics, and a dims.json.

Release 0.6 writes the statistics beside processor steps; release 0.3 kept them among the weights, as buffers of
`normalize_inputs` and `unnormalize_outputs`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec
import torch

from edge_runtime.bundle_spec import Normalisation
from export.errors import CheckpointError
from export.json_file import read_json
from export.layouts.vectors import NONE, spread
from export.stored import Stored, open_safetensors

WEIGHTS = "model.safetensors"
PREFIX = "model."
COMPILED = "model._orig_mod."
"""What stands before published names, and what does where the model was saved compiled."""
IMAGES = "observation.images."
STATE, ACTION = "observation.state", "action"
PREPROCESSOR, POSTPROCESSOR = "policy_preprocessor.json", "policy_postprocessor.json"
EPS = 1e-8
"""What lerobot adds to the standard deviation, and puts in the place of a range of zero, unless told otherwise."""
SCHEMES: dict[str, tuple[Literal["mean_std", "quantiles", "min_max"], str, str]] = {
    "MEAN_STD": ("mean_std", "mean", "std"),
    "QUANTILES": ("quantiles", "q01", "q99"),
    "QUANTILE10": ("quantiles", "q10", "q90"),
    "MIN_MAX": ("min_max", "min", "max"),
}
"""lerobot's name → ours, and the statistics it reads."""


class Feature(msgspec.Struct):
    type: str
    shape: tuple[int, ...]


class Config(msgspec.Struct):
    """The fields of config.json that shape the computation, of all families; the rest is about training."""

    type: str
    input_features: dict[str, Feature]
    output_features: dict[str, Feature]
    chunk_size: int
    tokenizer_max_length: int
    max_state_dim: int
    max_action_dim: int
    n_obs_steps: int = 1
    n_action_steps: int | None = None
    normalization_mapping: dict[str, str] = {}
    min_period: float = 4e-3
    max_period: float = 4.0
    use_relative_actions: bool = False
    relative_exclude_joints: tuple[str, ...] = ()
    action_feature_names: tuple[str, ...] | None = None
    # pi0, pi05, pi0_fast
    image_resolution: tuple[int, int] = (224, 224)
    paligemma_variant: str = "gemma_2b"
    action_expert_variant: str = "gemma_300m"
    num_inference_steps: int = 10
    # pi0_fast
    max_decoding_steps: int = 256
    fast_skip_tokens: int = 128
    temperature: float = 0.0
    # pi05 (huggingface/lerobot#4056); of the others, from whoever trained them so
    rtc_training_max_delay: int = 0
    # smolvla
    resize_imgs_with_padding: tuple[int, int] | None = (512, 512)
    num_steps: int = 10
    vlm_model_name: str = ""
    num_vlm_layers: int = 16
    num_expert_layers: int = -1
    attention_mode: str = "cross_attn"
    self_attn_every_n_layers: int = 2
    expert_width_multiplier: float = 0.75
    add_image_special_tokens: bool = False
    empty_cameras: int = 0
    adapt_to_pi_aloha: bool = False
    use_delta_joint_actions_aloha: bool = False
    use_peft: bool | None = None


class StepConfig(msgspec.Struct):
    """The fields of a step's config that shape the computation, of all kinds of step."""

    # normalizer_processor, unnormalizer_processor
    norm_map: dict[str, str] = {}
    eps: float = EPS
    # rename_observations_processor
    rename_map: dict[str, str] = {}
    # relative_actions_processor
    enabled: bool | None = None
    exclude_joints: tuple[str, ...] | None = None
    action_names: tuple[str, ...] | None = None
    # pi05_prepare_state_tokenizer_processor_step
    include_state_in_prompt: bool = True


class Step(msgspec.Struct):
    registry_name: str
    config: StepConfig = msgspec.field(default_factory=StepConfig)
    state_file: str | None = None


class Processor(msgspec.Struct):
    """policy_preprocessor.json or policy_postprocessor.json: steps in order."""

    steps: tuple[Step, ...]

    def step(self, name: str) -> Step | None:
        """The first step of that registry name."""
        return next((step for step in self.steps if step.registry_name == name), None)


def read_processor(path: Path) -> Processor | None:
    """The pipeline in `path`; None where the file is not there, as in release 0.3."""
    return read_json(path, Processor) if path.is_file() else None


def normalisation(directory: Path, config: Config, stored: Stored, key: str, dims: int) -> Normalisation:
    """How `key` (state or action) is normalised: by the processor's statistics, else by buffers among the weights."""
    name = PREPROCESSOR if key == STATE else POSTPROCESSOR
    processor = read_processor(directory / name)
    if processor is None:
        return _from_buffers(config, stored, key, dims)
    kind = "normalizer_processor" if key == STATE else "unnormalizer_processor"
    step = processor.step(kind)
    if step is None:
        raise CheckpointError(f"{directory / name}: no step {kind}")
    mode = step.config.norm_map.get("STATE" if key == STATE else "ACTION", "IDENTITY")
    if mode == "IDENTITY":
        return NONE
    _known(directory / name, kind, key, mode)
    if step.state_file is None or Path(step.state_file).name != step.state_file:
        raise CheckpointError(f"{directory / name}: {kind}: {step.state_file!r} is not a file of statistics beside it")
    return _normalisation(open_safetensors(directory / step.state_file), f"{key}.", mode, dims, step.config.eps)


def _from_buffers(config: Config, stored: Stored, key: str, dims: int) -> Normalisation:
    mode = config.normalization_mapping.get("STATE" if key == STATE else "ACTION", "IDENTITY")
    if mode == "IDENTITY":
        return NONE
    _known(stored.files[0].parent / "config.json", "normalization_mapping", key, mode)
    owner = "normalize_inputs" if key == STATE else "unnormalize_outputs"
    found = _normalisation(stored, f"{owner}.buffer_{key.replace('.', '_')}.", mode, dims, 0.0)
    return msgspec.structs.replace(found, eps_in=EPS)  # release 0.3 adds it on the way in alone, to ranges too


def buffers(stored: Stored) -> frozenset[str]:
    """Names of the statistics that release 0.3 kept among the weights."""
    owners = ("normalize_inputs.", "normalize_targets.", "unnormalize_outputs.")
    found = frozenset(name for name in stored.names if name.startswith(owners))
    robots = sorted({match[1] for name in found if (match := re.search(r"\.(so\d+(?:-[\w]+)?)_buffer_", name))})
    if robots:
        raise CheckpointError(
            f"{stored.files[0]}: has statistics for {', '.join(robots)} and none of its own, so lerobot runs it "
            "without; fine-tune it, or save it with one robot's"
        )
    return found


def _known(path: Path, what: str, key: str, mode: str) -> None:
    if mode not in SCHEMES:
        raise CheckpointError(f"{path}: {what} normalises {key} by {mode}; known are IDENTITY, {', '.join(SCHEMES)}")


def _normalisation(stored: Stored, prefix: str, mode: str, dims: int, eps: float) -> Normalisation:
    kind, first, second = SCHEMES[mode]
    a, b = (_numbers(stored, prefix + statistic, dims) for statistic in (first, second))
    if kind == "mean_std":
        return Normalisation(kind, a, b, eps_in=eps)
    return Normalisation(kind, a, spread(a, b, eps))


def _numbers(stored: Stored, name: str, dims: int) -> tuple[float, ...]:
    if name not in stored.names:
        raise CheckpointError(f"{stored.files[0]}: lacks {name}")
    tensor = stored.tensor(name).to(torch.float32)
    if tuple(tensor.shape) != (dims,) or not torch.isfinite(tensor).all():
        raise CheckpointError(
            f"{stored.files[0]}: {name} has shape {list(tensor.shape)}, expected {dims} finite numbers"
        )
    return tuple(tensor.tolist())


def relative(directory: Path, config: Config, names: Sequence[str]) -> tuple[bool, ...]:
    """Which action dimensions are relative to the state, as lerobot's relative_actions_processor has it; () for none.

    A joint is left absolute if an excluded name stands in its own; without names none can be.
    """
    processor = read_processor(directory / PREPROCESSOR)
    step = None if processor is None else processor.step("relative_actions_processor")
    told = StepConfig() if step is None else step.config
    if not (config.use_relative_actions if told.enabled is None else told.enabled):
        return ()
    joints = config.relative_exclude_joints if told.exclude_joints is None else told.exclude_joints
    excluded = [joint.lower() for joint in joints if joint]
    known = config.action_feature_names if step is None else told.action_names
    if known is None:
        return (True,) * len(names)
    flags = tuple(not any(x in name.lower() for x in excluded) for name in known[: len(names)])
    return flags + (True,) * (len(names) - len(flags))
