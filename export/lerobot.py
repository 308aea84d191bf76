"""The lerobot layout of a pi0 checkpoint, as release 0.6.1 writes it: reading.

config.json, model.safetensors (published names behind `model.`), policy_preprocessor.json and
policy_postprocessor.json with their statistics. The layout records neither model sizes nor the tokenizer nor the rate
of the actions: sizes come from the variants it names or from a `dims.json`; `tokenizer.json` and `dims.json` may lie in
the same directory.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import torch

from export.checkpoint import Checkpoint, Vector
from export.errors import CheckpointError
from export.json_file import read_json
from export.models.blocks import GEMMA, SIGLIP, GemmaConfig, SiglipConfig
from export.models.pi0 import Pi0, Pi0Config, published_name
from export.weights import load_weights, open_tensors

WEIGHTS = "model.safetensors"
IMAGES = "observation.images."
STATE, ACTION = "observation.state", "action"
EPS = 1e-8
"""What lerobot's NormalizerProcessor adds to the standard deviation unless told; its inverse adds nothing."""
TABLE = "model.paligemma_with_expert.paligemma.model.language_model.embed_tokens.weight"
HEAD = "model.paligemma_with_expert.paligemma.lm_head.weight"
EXPERT_HEAD = "model.paligemma_with_expert.gemma_expert.lm_head.weight"


class Feature(msgspec.Struct):
    type: str
    shape: tuple[int, ...]


class Config(msgspec.Struct):
    """The fields of config.json that shape the computation; the rest is about training."""

    input_features: dict[str, Feature]
    output_features: dict[str, Feature]
    chunk_size: int
    tokenizer_max_length: int
    image_resolution: tuple[int, int]
    max_state_dim: int
    max_action_dim: int
    num_inference_steps: int
    paligemma_variant: str
    action_expert_variant: str
    min_period: float = 4e-3
    max_period: float = 4.0
    use_relative_actions: bool = False
    action_feature_names: tuple[str, ...] | None = None


class Step(msgspec.Struct):
    registry_name: str
    config: dict[str, Any] = {}
    state_file: str | None = None


class Processor(msgspec.Struct):
    """policy_preprocessor.json or policy_postprocessor.json: steps in order."""

    steps: tuple[Step, ...]


class Dims(msgspec.Struct):
    """dims.json: what the layout does not record. Every key is optional; others are left alone."""

    vlm: GemmaConfig | None = None
    expert: GemmaConfig | None = None
    vision: SiglipConfig | None = None
    vocab: int = 257152
    fps: float | None = None
    units: str = ""


def read_lerobot(directory: Path, dims: Path | None = None, tokenizer: Path | None = None) -> Checkpoint:
    """Read everything but the weights. `dims` and `tokenizer` replace the files of the same kind in `directory`."""
    path = directory / "config.json"
    config = read_json(path, Config)
    sizes_path = dims or directory / "dims.json"
    sizes = read_json(sizes_path, Dims) if dims or sizes_path.is_file() else Dims()
    if config.use_relative_actions:
        raise CheckpointError(f"{path}: use_relative_actions is true; only absolute actions can be exported")
    if min(config.tokenizer_max_length, config.num_inference_steps) < 1:
        raise CheckpointError(f"{path}: tokenizer_max_length and num_inference_steps must be above zero")
    pi0 = _architecture(path, config, sizes)
    state = _dimensions(path, STATE, config.input_features, config.max_state_dim)
    action = _dimensions(path, ACTION, config.output_features, config.max_action_dim)
    names = config.action_feature_names or tuple(f"action.{i}" for i in range(action))
    if len(names) != action:
        raise CheckpointError(f"{path}: action_feature_names has {len(names)} names for {action} dimensions")
    state_names = tuple(f"state.{i}" for i in range(state))
    return Checkpoint(
        config=pi0,
        cameras=_cameras(path, config),
        state=_vector(directory / "policy_preprocessor.json", "normalizer_processor", STATE, state_names, sizes.units),
        action=_vector(directory / "policy_postprocessor.json", "unnormalizer_processor", ACTION, names, sizes.units),
        max_tokens=config.tokenizer_max_length,
        steps=config.num_inference_steps,
        tokenizer=_tokenizer(directory, tokenizer),
        fps=sizes.fps,
    )


def load_lerobot(directory: Path, config: Pi0Config) -> Pi0:
    """Load the weights in float32, for inference."""
    return load_weights(
        lambda: Pi0(config), directory / WEIGHTS, _stored_name, lambda name: name in (HEAD, EXPERT_HEAD)
    )


def _stored_name(name: str, stored: Iterable[str]) -> str:
    """The token table is `embed_tokens`; only where that is absent, the tied `lm_head` is it."""
    published = "model." + published_name(name)
    return HEAD if published == TABLE and TABLE not in stored else published


def _architecture(path: Path, config: Config, sizes: Dims) -> Pi0Config:
    vision = sizes.vision or SIGLIP["so400m"]
    if config.image_resolution != (vision.image, vision.image):
        raise CheckpointError(
            f"{path}: image_resolution is {list(config.image_resolution)}, the vision tower takes {vision.image} "
            "pixels square; give its sizes with --dims"
        )
    try:
        return Pi0Config(
            vision=vision,
            language=sizes.vlm or _variant(path, "paligemma_variant", config.paligemma_variant),
            expert=sizes.expert or _variant(path, "action_expert_variant", config.action_expert_variant),
            vocab=sizes.vocab,
            horizon=config.chunk_size,
            state_padded=config.max_state_dim,
            action_padded=config.max_action_dim,
            min_period=config.min_period,
            max_period=config.max_period,
        )
    except ValueError as error:
        raise CheckpointError(f"{path}: with these sizes {error}") from error


def _cameras(path: Path, config: Config) -> dict[str, tuple[int, int]]:
    """Name → (height, width). `empty_camera_<i>` are slots that training left blank: masked, so they change nothing."""
    cameras = {
        name.removeprefix(IMAGES): _height_width(path, name, feature)
        for name, feature in config.input_features.items()
        if feature.type == "VISUAL" and not name.startswith(IMAGES + "empty_camera_")
    }
    if not cameras:
        raise CheckpointError(f"{path}: input_features has no camera (a feature of type VISUAL)")
    return cameras


def _tokenizer(directory: Path, tokenizer: Path | None) -> Path:
    path = tokenizer or directory / "tokenizer.json"
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; the lerobot layout has no tokenizer, give one with --tokenizer")
    return path


def _variant(path: Path, field: str, name: str) -> GemmaConfig:
    if name not in GEMMA:
        raise CheckpointError(f"{path}: {field} {name!r} is unknown; known are {', '.join(GEMMA)}, or give --dims")
    return GEMMA[name]


def _height_width(path: Path, name: str, feature: Feature) -> tuple[int, int]:
    if len(feature.shape) != 3 or feature.shape[0] != 3 or min(feature.shape) < 1:
        raise CheckpointError(f"{path}: {name} has shape {list(feature.shape)}, expected [3, height, width]")
    return feature.shape[1], feature.shape[2]


def _dimensions(path: Path, name: str, features: dict[str, Feature], padded: int) -> int:
    if name not in features:
        raise CheckpointError(f"{path}: no feature {name}")
    shape = features[name].shape
    if len(shape) != 1 or not 1 <= shape[0] <= padded:
        raise CheckpointError(f"{path}: {name} has shape {list(shape)}, expected [n] with n from 1 to {padded}")
    return shape[0]


def _vector(path: Path, kind: str, key: str, names: tuple[str, ...], units: str) -> Vector:
    """Statistics of `key` from the step of that kind in the processor file `path`."""
    directory = path.parent
    step = next((s for s in read_json(path, Processor).steps if s.registry_name == kind), None)
    if step is None:
        raise CheckpointError(f"{path}: no step {kind}")
    mode = step.config.get("norm_map", {}).get("STATE" if key == STATE else "ACTION", "IDENTITY")
    if mode == "IDENTITY":
        return Vector(names, units=units)
    if mode != "MEAN_STD" or step.state_file is None:
        raise CheckpointError(f"{path}: {kind} normalises {key} by {mode}; pi0 is exported with MEAN_STD or IDENTITY")
    if Path(step.state_file).name != step.state_file:
        raise CheckpointError(f"{path}: {kind} names its statistics {step.state_file!r}, not a file beside it")
    with open_tensors(directory / step.state_file) as file:
        values = {}
        for statistic in ("mean", "std"):
            if f"{key}.{statistic}" not in file.keys():  # noqa: SIM118 (an open file, not a mapping)
                raise CheckpointError(f"{directory / step.state_file}: lacks {key}.{statistic}")
            tensor = file.get_tensor(f"{key}.{statistic}").to(torch.float32)
            if tuple(tensor.shape) != (len(names),) or not torch.isfinite(tensor).all():
                raise CheckpointError(
                    f"{directory / step.state_file}: {key}.{statistic} has shape {list(tensor.shape)}, "
                    f"expected {len(names)} finite numbers"
                )
            values[statistic] = tuple(tensor.tolist())
    return Vector(names, values["mean"], values["std"], units, float(step.config.get("eps", EPS)))
