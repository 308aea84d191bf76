"""The lerobot layout of a pi0 checkpoint: writing (see `export.layouts.lerobot` for what the layout is)."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from edge_runtime.bundle_spec import FlowSpec, PolicySpec
from export.json_file import write_json
from export.layouts.lerobot_files import ACTION, EPS, IMAGES, POSTPROCESSOR, PREFIX, PREPROCESSOR, STATE, WEIGHTS
from export.models.pi0 import EXPERT_HEAD, HEAD, TABLE, Pi0, Pi0Config, published_name
from export.staging import staged
from export.weights import save_weights


def save_lerobot(model: Pi0, spec: PolicySpec, tokenizer: Path, out: Path, dtype: torch.dtype = torch.float32) -> Path:
    """Write a checkpoint in the lerobot layout, with `tokenizer.json` and `dims.json` beside it. Returns `out`.

    Of `spec`, normalisations by mean and standard deviation, or none, are written. An existing checkpoint at `out` is
    replaced when everything is written. `dtype` is that of the stored weights.
    """
    with staged(out, marker="config.json") as new:
        weights = {published_name(name): tensor for name, tensor in model.state_dict().items()}
        weights[HEAD] = weights[TABLE]  # stored by the reference and never read by pi0, like the next one
        weights[EXPERT_HEAD] = torch.zeros(weights[TABLE].shape[0], model.config.expert.width)
        save_weights({PREFIX + name: tensor for name, tensor in weights.items()}, new / WEIGHTS, dtype)
        write_settings(model.config, spec, tokenizer, new)
    return out


def write_settings(config: Pi0Config, spec: PolicySpec, tokenizer: Path, out: Path) -> None:
    """Write everything of a checkpoint but its weights into the directory `out`."""
    write_json(out / "config.json", _config_json(config, spec))
    _write_processors(out, spec)
    c = config
    sizes = {"vlm": asdict(c.language), "expert": asdict(c.expert), "vision": asdict(c.vision), "vocab": c.vocab}
    units = next(iter(spec.action.units), "")
    write_json(out / "dims.json", {**sizes, "fps": 1.0 / spec.dt_s, "units": units})
    shutil.copyfile(tokenizer, out / "tokenizer.json")


def _features(spec: PolicySpec) -> tuple[dict[str, Any], dict[str, Any]]:
    images = {IMAGES + c.name: {"type": "VISUAL", "shape": [3, c.height, c.width]} for c in spec.cameras}
    state = {STATE: {"type": "STATE", "shape": [spec.state.dims]}}
    return {**images, **state}, {ACTION: {"type": "ACTION", "shape": [spec.action.dims]}}


def _norm_map(spec: PolicySpec) -> dict[str, str]:
    kinds = {"STATE": spec.state_normalisation, "ACTION": spec.action_normalisation}
    return {"VISUAL": "IDENTITY"} | {k: "IDENTITY" if n.kind == "none" else "MEAN_STD" for k, n in kinds.items()}


def _config_json(c: Pi0Config, spec: PolicySpec) -> dict[str, Any]:
    head = spec.head
    assert isinstance(head, FlowSpec)
    inputs, outputs = _features(spec)
    return {
        "type": "pi0",
        "use_peft": False,
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
        "num_inference_steps": head.steps,
        "min_period": c.min_period,
        "max_period": c.max_period,
        "use_relative_actions": False,
        "action_feature_names": spec.action.names,
        "image_resolution": [c.vision.image, c.vision.image],
        "empty_cameras": 0,
        "normalization_mapping": _norm_map(spec),
        "tokenizer_max_length": spec.prompt.max_tokens,
        **({"rtc_training_max_delay": head.committed} if head.committed else {}),
    }


def _write_processors(out: Path, spec: PolicySpec) -> None:
    inputs, outputs = _features(spec)
    vectors = {STATE: spec.state_normalisation, ACTION: spec.action_normalisation}
    statistics = {
        f"{name}.{key}": torch.tensor(values)
        for name, norm in vectors.items()
        for key, values in (("mean", norm.a), ("std", norm.b))
        if values
    }
    tokens = {
        "max_length": spec.prompt.max_tokens,
        "task_key": "task",
        "padding_side": "right",
        "padding": "max_length",
    }
    before = [
        {"registry_name": "rename_observations_processor", "config": {"rename_map": {}}},
        {"registry_name": "to_batch_processor", "config": {}},
        {"registry_name": "pi0_new_line_processor", "config": {}},
        {"registry_name": "tokenizer_processor", "config": {**tokens, "truncation": True, "tokenizer_name": "."}},
        {"registry_name": "device_processor", "config": {"device": "cpu", "float_dtype": None}},
    ]
    for file, first, kind, features in (
        (PREPROCESSOR, before, "normalizer_processor", {**inputs, **outputs}),
        (POSTPROCESSOR, [], "unnormalizer_processor", outputs),
    ):
        name = file.removesuffix(".json")
        state_file = f"{name}_step_{len(first)}_{kind}.safetensors"
        config = {"eps": EPS, "features": features, "norm_map": _norm_map(spec)}
        last = {"registry_name": kind, "config": config, "state_file": state_file}
        save_weights(statistics, out / state_file)
        write_json(out / file, {"name": name, "steps": [*first, last]})
