"""What stands beside the weights in the lerobot layout, of any family: release 0.6, and turned back to release 0.3."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from export.layouts.lerobot_files import ACTION, IMAGES, POSTPROCESSOR, PREPROCESSOR, STATE, WEIGHTS
from tests.export.edits import edit_json, edit_tensors

CAMERAS = {"base": (20, 30), "wrist": (33, 21)}
"""Height and width; neither is square."""
STATISTICS: dict[str, dict[str, list[float]]] = {
    STATE: {
        "mean": [0.5, -1.0, 2.0, 0.25],
        "std": [2.0, 0.25, 1.0, 0.5],
        "min": [-4.0, -2.0, 0.0, -1.0],
        "max": [4.0, 0.0, 4.0, 1.0],
        "q01": [-3.0, -1.5, 0.5, -0.75],
        "q99": [3.5, -0.25, 3.0, 0.875],
        "q10": [-2.0, -1.25, 1.0, -0.5],
        "q90": [2.5, -0.5, 2.5, 0.5],
    },
    ACTION: {
        "mean": [0.125, 0.25, -0.375],
        "std": [1.5, 0.5, 3.0],
        "min": [-2.0, -1.0, 0.0],
        "max": [2.0, 1.5, 1.0],
        "q01": [-1.5, -0.75, 0.125],
        "q99": [1.25, 1.0, 0.875],
        "q10": [-1.0, -0.5, 0.25],
        "q90": [1.0, 0.5, 0.75],
    },
}
STATE_DIMS, ACTION_DIMS = 4, 3
MIDDLE = {
    "pi05": "pi05_prepare_state_tokenizer_processor_step",
    "pi0_fast": "pi0_fast_prepare_state_tokenizer_processor_step",
    "smolvla": "smolvla_new_line_processor",
}
"""The step of each family between the normaliser and the tokenizer."""
STATE_FILE = "policy_preprocessor_step_3_normalizer_processor.safetensors"
ACTION_FILE = "policy_postprocessor_step_0_unnormalizer_processor.safetensors"


def settings(folder: Path, kind: str, config: Mapping[str, Any], norm: str = "MEAN_STD") -> Path:
    """Write config.json, both processors and their statistics. `norm` is lerobot's name of how vectors are scaled."""
    folder.mkdir(parents=True, exist_ok=True)
    norm_map = {"VISUAL": "IDENTITY", "STATE": norm, "ACTION": norm}
    images = {IMAGES + name: {"type": "VISUAL", "shape": [3, *size]} for name, size in CAMERAS.items()}
    shapes = {STATE: ("STATE", STATE_DIMS), ACTION: ("ACTION", ACTION_DIMS)}
    vectors = {name: {"type": type_, "shape": [dims]} for name, (type_, dims) in shapes.items()}
    whole = {
        "type": kind,
        "use_peft": False,
        "n_obs_steps": 1,
        "input_features": {**images, STATE: vectors[STATE]},
        "output_features": {ACTION: vectors[ACTION]},
        "normalization_mapping": norm_map,
        **config,
    }
    _write(folder / "config.json", whole)
    scaling = {"eps": 1e-8, "features": {**images, **vectors}, "norm_map": norm_map}
    before = [
        {"registry_name": "rename_observations_processor", "config": {"rename_map": {}}},
        {"registry_name": "to_batch_processor", "config": {}},
        {
            "registry_name": "relative_actions_processor",
            "config": {"enabled": False, "exclude_joints": ["gripper"], "action_names": None},
        },
        {"registry_name": "normalizer_processor", "config": scaling, "state_file": STATE_FILE},
        {"registry_name": MIDDLE.get(kind, "pi0_new_line_processor"), "config": {}},
    ]
    after = [{"registry_name": "unnormalizer_processor", "config": scaling, "state_file": ACTION_FILE}]
    for name, steps in ((PREPROCESSOR, before), (POSTPROCESSOR, after)):
        _write(folder / name, {"name": name.removesuffix(".json"), "steps": steps})
    for file in (STATE_FILE, ACTION_FILE):
        save_file(_statistics(), folder / file)
    return folder


def _statistics() -> dict[str, Tensor]:
    return {f"{key}.{name}": torch.tensor(x) for key, all in STATISTICS.items() for name, x in all.items()}


def as_release_03(folder: Path) -> Path:
    """The same checkpoint as release 0.3 wrote it: statistics among the weights, no processors, no `use_peft`."""
    steps = json.loads((folder / PREPROCESSOR).read_text())["steps"]
    found = load_file(folder / next(step["state_file"] for step in steps if "state_file" in step))
    action = load_file(next(folder.glob("policy_postprocessor_step_*.safetensors")))
    buffers = {
        f"{owner}.buffer_{key.replace('.', '_')}.{name.rpartition('.')[2]}": tensor
        for owner, key, all in (
            ("normalize_inputs", STATE, found),
            ("normalize_targets", ACTION, action),
            ("unnormalize_outputs", ACTION, action),
        )
        for name, tensor in all.items()
        if name.startswith(key + ".")
    }
    for path in folder.glob("policy_*"):
        path.unlink()
    edit_json(folder / "config.json", lambda config: config.pop("use_peft", None))
    edit_tensors(folder / WEIGHTS, lambda weights: weights.update(buffers))
    return folder


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content))
