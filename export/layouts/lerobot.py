"""The lerobot layout of pi0, pi0.5, pi0-FAST and SmolVLA (release 0.6; SmolVLA of 0.3 too): a directory → `Checkpoint`.

The layout records neither model sizes nor the tokenizer nor the rate of the actions: sizes come from the variants it
names or from a dims.json; `tokenizer.json` and `dims.json` may lie in the same directory.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from edge_runtime.bundle_spec import CameraSpec, PolicySpec
from export.checkpoint import Checkpoint
from export.errors import CheckpointError
from export.json_file import read_json
from export.layouts import lerobot_pi, lerobot_smolvla
from export.layouts.lerobot_files import (
    ACTION,
    COMPILED,
    IMAGES,
    PREFIX,
    PREPROCESSOR,
    STATE,
    WEIGHTS,
    Config,
    Feature,
    buffers,
    normalisation,
    read_processor,
    relative,
)
from export.layouts.lerobot_parts import LerobotGiven, Parts
from export.layouts.options import Options
from export.layouts.vectors import numbered, rate, vector
from export.stored import open_safetensors

FAMILIES: dict[str, Callable[[LerobotGiven], Parts]] = {
    "pi0": lerobot_pi.pi0,
    "pi05": lerobot_pi.pi0,
    "pi0_fast": lerobot_pi.pi0_fast,
    "smolvla": lerobot_smolvla.smolvla,
}
"""lerobot's `type` → what reads the rest."""


def read(directory: Path, options: Options) -> Checkpoint:
    """Read everything but the weights."""
    path = directory / "config.json"
    config = read_json(path, Config)
    if config.n_obs_steps != 1:
        raise CheckpointError(f"{path}: n_obs_steps is {config.n_obs_steps}; only policies that see one step are known")
    counts = (config.num_inference_steps, config.num_steps, config.max_decoding_steps)
    if min(config.tokenizer_max_length, config.chunk_size, *counts) < 1:
        raise CheckpointError(f"{path}: tokenizer_max_length, steps and chunk_size must be above zero")
    if config.n_action_steps is not None and not 1 <= config.n_action_steps <= config.chunk_size:
        raise CheckpointError(
            f"{path}: n_action_steps is {config.n_action_steps}, expected 1 to {config.chunk_size}, the chunk_size"
        )
    given, stored = LerobotGiven(directory, options, config), open_safetensors(directory / WEIGHTS)
    common = given.common
    parts = FAMILIES[config.type](given)
    action = _dimensions(path, ACTION, config.output_features, config.max_action_dim)
    names = config.action_feature_names or numbered("action", action)
    if len(names) != action:
        raise CheckpointError(f"{path}: action_feature_names has {len(names)} names for {action} dimensions")
    state = _dimensions(path, STATE, config.input_features, config.max_state_dim)
    dt_s, who = rate(options.fps, common.fps)
    spec = PolicySpec(
        cameras=_cameras(given),
        state=vector(numbered("state", state), config.max_state_dim, common.units),
        action=vector(names, config.max_action_dim, common.units),
        horizon=parts.horizon,
        dt_s=dt_s,
        control_mode="absolute",
        head=parts.head,
        prompt=parts.prompt,
        state_normalisation=normalisation(directory, config, stored, STATE, state),
        action_normalisation=normalisation(directory, config, stored, ACTION, action),
        relative=relative(directory, config, names),
    )
    return Checkpoint(
        family=config.type,
        layout="lerobot",
        config=parts.config,
        spec=spec,
        image=parts.image,
        stored=stored,
        tokenizer=given.tokenizer,
        prefix=COMPILED if any(name.startswith(COMPILED) for name in stored.names) else PREFIX,
        read=buffers(stored),
        rate=who,
        files=parts.files,
        time=_time(directory, config),
    )


def _time(directory: Path, config: Config) -> Literal["fraction", "accumulated"]:
    """How this checkpoint's release counts flow time: lerobot up to 0.4.2 accumulates, later ones take 1 - k/n.

    Releases before 0.4 wrote no processors; from 0.4.3 on config.json has `use_peft`.
    """
    return "fraction" if (directory / PREPROCESSOR).is_file() and config.use_peft is not None else "accumulated"


def _cameras(given: LerobotGiven) -> tuple[CameraSpec, ...]:
    """`empty_camera_<i>` are slots that training left blank: masked, so they change nothing and are left out.

    A camera has the name that the robot gave it before the checkpoint's own rename step.
    """
    path, config = given.path, given.config
    processor = read_processor(given.directory / PREPROCESSOR)
    step = None if processor is None else processor.step("rename_observations_processor")
    renamed = {} if step is None else {new: old for old, new in step.config.rename_map.items()}
    cameras = tuple(
        CameraSpec(renamed.get(name, name).removeprefix(IMAGES), *_height_width(path, name, feature))
        for name, feature in config.input_features.items()
        if feature.type == "VISUAL" and not name.startswith(IMAGES + "empty_camera_")
    )
    if not cameras:
        raise CheckpointError(f"{path}: input_features has no camera (a feature of type VISUAL)")
    return cameras


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
