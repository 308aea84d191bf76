"""Reference sets as observations: what `edge infer` is given, and what the reference answered."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from export.layouts.options import Options
from tests.imports import ROOT

SHARED = ROOT.parent / "shared"
"""Where reference data lies, beside the checkout; not everybody has it."""
Tensors = dict[str, np.ndarray[Any, Any]]
CAMERAS = {"openvla_hf": {"": "image"}, "openvla_oft": {"0": "image", "1": "wrist", "2": "wrist_right"}}
"""Names of cameras in sets that only number them."""


@dataclass(frozen=True)
class Golden:
    """One folder of reference outputs."""

    folder: Path

    @property
    def kind(self) -> str:
        """Family and layout, such as "pi0_openpi"."""
        return self.folder.name

    @property
    def io(self) -> Tensors:
        return load_file(self.folder / "io.safetensors")

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint"

    def options(self) -> Options:
        """What `edge export` must be told."""
        frames = self.observation()
        fast = self.folder / "fast_tokenizer"
        return Options(
            cameras={k[6:]: (v.shape[0], v.shape[1]) for k, v in frames.items() if k.startswith("image.")},
            dims=self.folder / "dims.json",
            tokenizer=self._tokenizer_file(),
            fast_tokenizer=fast if fast.is_dir() else None,
        )

    def _tokenizer_file(self) -> Path | None:
        names = ("tokenizer/tokenizer.json", "tokenizer/paligemma_tokenizer.model", "checkpoint/tokenizer.json")
        return next((self.folder / name for name in names if (self.folder / name).is_file()), None)

    def observation(self) -> Tensors:
        """image.<camera>, state, tokens, token_mask, noise. A masked camera is left out."""
        io, given = self.io, {}
        frames = {k.removeprefix("in.image_u8").lstrip("."): v for k, v in io.items() if k.startswith("in.image_u8")}
        frames = {k: v for k, v in frames.items() if not k.startswith("_resized")}
        masks = io.get("in.image_masks", np.ones((1, len(frames)), np.bool_))[0]
        order = [name for name in self._cameras() if name in frames] or list(frames)
        for name, seen in zip(order, masks, strict=False):
            if seen:
                given[f"image.{CAMERAS.get(self.kind, {}).get(name, name)}"] = frames[name]
        for key, names in {
            "state": ("in.state_raw", "in.proprio_raw"),
            "tokens": ("in.tokens", "in.input_ids"),
            "token_mask": ("in.token_mask", "in.attention_mask"),
            "noise": ("in.noise",),
        }.items():
            for name in set(names) & set(io):
                given[key] = io[name]
        return given

    @property
    def instruction(self) -> str | None:
        """What the robot was told, where the set says it and has a tokenizer."""
        if self._tokenizer_file() is None:
            return None
        prompt = re.fullmatch(r"In: What action should the robot take to (.*)\?\nOut:", self.dims.get("prompt", ""))
        return prompt[1] if prompt else self.dims.get("task")

    @property
    def dims(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.folder / "dims.json").read_text())
        return content

    def _cameras(self) -> list[str]:
        dims = self.dims
        images = dims.get("images", ())
        return [*images] if isinstance(images, dict) else list(dims.get("cams", ()))

    def write_observation(self, path: Path) -> Path:
        save_file({k: np.ascontiguousarray(v) for k, v in self.observation().items()}, path)
        return path


def sets(shared: Path) -> list[Golden]:
    """Every reference set that is there."""
    return [Golden(path.parent) for path in sorted((shared / "golden").glob("*/*/io.safetensors"))]
