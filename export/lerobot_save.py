"""The lerobot layout of a pi0 checkpoint: writing (see `export.lerobot` for what the layout is)."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import torch

from export.checkpoint import Checkpoint
from export.lerobot import ACTION, EPS, EXPERT_HEAD, HEAD, IMAGES, STATE, TABLE, WEIGHTS
from export.models.pi0 import Pi0, published_name
from export.staging import staged
from export.weights import save_weights


def save_lerobot(model: Pi0, checkpoint: Checkpoint, out: Path, dtype: torch.dtype = torch.float32) -> Path:
    """Write a checkpoint in the lerobot layout, with `tokenizer.json` and `dims.json` beside it. Returns `out`.

    An existing checkpoint at `out` is replaced when everything is written. `dtype` is that of the stored weights.
    """
    with staged(out, marker="config.json") as new:
        weights = {"model." + published_name(name): tensor for name, tensor in model.state_dict().items()}
        table = weights[TABLE]
        weights[HEAD] = table  # stored by the reference and never read by pi0, like the next one
        weights[EXPERT_HEAD] = torch.zeros(table.shape[0], model.config.expert.width)
        save_weights(weights, new / WEIGHTS, dtype)
        _write(new / "config.json", _config_json(checkpoint))
        _write_processors(new, checkpoint)
        c = checkpoint.config
        sizes = {"vlm": asdict(c.language), "expert": asdict(c.expert), "vision": asdict(c.vision), "vocab": c.vocab}
        rate = {} if checkpoint.fps is None else {"fps": checkpoint.fps}
        _write(new / "dims.json", {**sizes, **rate, "units": checkpoint.action.units})
        shutil.copyfile(checkpoint.tokenizer, new / "tokenizer.json")
    return out


def _features(checkpoint: Checkpoint) -> tuple[dict[str, Any], dict[str, Any]]:
    images = {IMAGES + n: {"type": "VISUAL", "shape": [3, h, w]} for n, (h, w) in checkpoint.cameras.items()}
    state = {STATE: {"type": "STATE", "shape": [len(checkpoint.state.names)]}}
    return {**images, **state}, {ACTION: {"type": "ACTION", "shape": [len(checkpoint.action.names)]}}


def _norm_map(checkpoint: Checkpoint) -> dict[str, str]:
    kinds = {"STATE": checkpoint.state, "ACTION": checkpoint.action}
    return {"VISUAL": "IDENTITY"} | {k: "MEAN_STD" if v.mean else "IDENTITY" for k, v in kinds.items()}


def _config_json(checkpoint: Checkpoint) -> dict[str, Any]:
    c = checkpoint.config
    inputs, outputs = _features(checkpoint)
    return {
        "type": "pi0",
        "n_obs_steps": 1,
        "input_features": inputs,
        "output_features": outputs,
        "device": "cpu",
        "paligemma_variant": "gemma_2b",
        "action_expert_variant": "gemma_300m",
        "dtype": "float32",
        "chunk_size": c.horizon,
        "n_action_steps": c.horizon,
        "max_state_dim": c.state_padded,
        "max_action_dim": c.action_padded,
        "num_inference_steps": checkpoint.steps,
        "min_period": c.min_period,
        "max_period": c.max_period,
        "use_relative_actions": False,
        "action_feature_names": checkpoint.action.names,
        "image_resolution": [c.vision.image, c.vision.image],
        "empty_cameras": 0,
        "normalization_mapping": _norm_map(checkpoint),
        "tokenizer_max_length": checkpoint.max_tokens,
    }


def _write_processors(out: Path, checkpoint: Checkpoint) -> None:
    inputs, outputs = _features(checkpoint)
    vectors = {STATE: checkpoint.state, ACTION: checkpoint.action}
    statistics = {
        f"{name}.{key}": torch.tensor(values)
        for name, vector in vectors.items()
        for key, values in (("mean", vector.mean), ("std", vector.std))
        if values
    }
    tokens = {"max_length": checkpoint.max_tokens, "task_key": "task", "padding_side": "right", "padding": "max_length"}
    before = [
        {"registry_name": "rename_observations_processor", "config": {"rename_map": {}}},
        {"registry_name": "to_batch_processor", "config": {}},
        {"registry_name": "pi0_new_line_processor", "config": {}},
        {"registry_name": "tokenizer_processor", "config": {**tokens, "truncation": True, "tokenizer_name": "."}},
        {"registry_name": "device_processor", "config": {"device": "cpu", "float_dtype": None}},
    ]
    for name, first, kind, features in (
        ("policy_preprocessor", before, "normalizer_processor", {**inputs, **outputs}),
        ("policy_postprocessor", [], "unnormalizer_processor", outputs),
    ):
        state_file = f"{name}_step_{len(first)}_{kind}.safetensors"
        config = {"eps": EPS, "features": features, "norm_map": _norm_map(checkpoint)}
        last = {"registry_name": kind, "config": config, "state_file": state_file}
        save_weights(statistics, out / state_file)
        _write(out / f"{name}.json", {"name": name, "steps": [*first, last]})


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")
