"""Checkpoint → verified policy bundle: read, export, load again, compare, seal. All of it or nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import msgspec
from safetensors.torch import save_file
from tokenizers import Tokenizer

from edge_runtime.backends import ort
from edge_runtime.bundle import (
    MANIFEST,
    CameraSpec,
    FlowSpec,
    Manifest,
    Normalisation,
    PolicySpec,
    PromptSpec,
    Source,
    VectorSpec,
    open_bundle,
    seal,
    sha256,
)
from edge_runtime.policies.flow import Runner
from export.checkpoint import Checkpoint, Vector
from export.errors import CheckpointError, ExportError
from export.graphs import ImageGraph, flow_constants, graphs
from export.layouts import detect
from export.onnx_file import write_onnx
from export.staging import staged
from export.verify import verify

ASSUMED_FPS = 30.0
"""Rate of the actions where neither the checkpoint nor the person says it."""
CONSTANTS, TOKENIZER, ACCURACY = "constants.safetensors", "tokenizer.json", "accuracy.json"
STAGES = ("checkpoint", "weights", "image", "prefix", "step", "verification", "seal")

Progress = Callable[[str, int, int], None]
"""Called with what begins now, how many stages are done, and how many there are."""


def export_checkpoint(
    checkpoint: Path,
    out: Path,
    *,
    cameras: dict[str, tuple[int, int]] | None = None,
    dims: Path | None = None,
    tokenizer: Path | None = None,
    fps: float | None = None,
    progress: Progress | None = None,
) -> Path:
    """Export the checkpoint directory `checkpoint` to a bundle at `out` and return `out`.

    `cameras`: (height, width) of this robot's frames where they are not the training data's. `dims`, `tokenizer`: files
    that the layout lacks. `fps`: rate of the actions. An existing bundle at `out` is replaced when the new one is
    verified. Raises `CheckpointError`, `ExportError` and `BundleError`, and leaves nothing behind then.
    """

    def begin(stage: str) -> None:
        if progress is not None:
            progress(stage, STAGES.index(stage), len(STAGES))

    begin("checkpoint")
    layout = detect(checkpoint)
    source = _for_this_robot(layout.read(checkpoint, dims, tokenizer), cameras)
    spec, rate = _spec(source, fps)
    with staged(out, marker=MANIFEST) as new:
        begin("weights")
        model = layout.load(checkpoint, source.config)
        written, modules = {}, graphs(model, source)
        for name, module in modules.items():
            begin(name)
            written[name] = write_onnx(module, module.signature(), new / f"{name}.onnx")
        save_file(flow_constants(model, source.steps), new / CONSTANTS)
        (new / CONSTANTS).chmod(0o644)
        shutil.copyfile(source.tokenizer, new / TOKENIZER)
        (new / ACCURACY).write_bytes(b"{}")
        manifest = Manifest(
            policy="flow",
            source=Source("pi0", layout.name, sha256(checkpoint / layout.weights), rate),
            spec=spec,
            graphs={name: f"{name}.onnx" for name in modules},
            constants=CONSTANTS,
            tokenizer=TOKENIZER,
            accuracy=ACCURACY,
            precision={name: w.precision for name, w in written.items()},
            parameters={name: w.parameters for name, w in written.items()},
            verdict="pass",
        )
        begin("verification")
        seal(new, manifest)
        image = modules["image"]
        assert isinstance(image, ImageGraph)
        accuracy = verify(model, image, source, Runner(open_bundle(new), ort.Engine()))
        begin("seal")
        (new / ACCURACY).write_bytes(msgspec.json.format(msgspec.json.encode(accuracy), indent=2) + b"\n")
        seal(new, manifest)
    return out


def _for_this_robot(source: Checkpoint, cameras: dict[str, tuple[int, int]] | None) -> Checkpoint:
    for name, size in (cameras or {}).items():
        if name not in source.cameras:
            raise ExportError(f"camera {name}: the checkpoint has {', '.join(source.cameras)}")
        if min(size) < 1:
            raise ExportError(f"camera {name}: {size[1]}×{size[0]} is not a size of a frame")
    return replace(source, cameras=source.cameras | (cameras or {}))


Rate = Literal["given", "checkpoint", "assumed"]


def _spec(source: Checkpoint, fps: float | None) -> tuple[PolicySpec, Rate]:
    """The manifest's spec, and who said what the rate is."""
    rate: Rate = "given" if fps is not None else "assumed" if source.fps is None else "checkpoint"
    hertz = next(rate for rate in (fps, source.fps, ASSUMED_FPS) if rate is not None)
    if not 0.0 < hertz < 1e4:
        raise ExportError(f"fps: {hertz} is not a rate of actions; give it with --fps")
    config = source.config
    spec = PolicySpec(
        cameras=tuple(CameraSpec(name, *size) for name, size in source.cameras.items()),
        state=_vector(source.state, config.state_padded),
        action=_vector(source.action, config.action_padded),
        horizon=config.horizon,
        dt_s=1.0 / hertz,
        control_mode="absolute",
        flow=FlowSpec(steps=source.steps, t_start=1.0, t_end=0.0),
        prompt=prompt_spec(source),
        state_normalisation=_normalisation(source.state),
        action_normalisation=_normalisation(source.action),
    )
    return spec, rate


def _vector(vector: Vector, padded: int) -> VectorSpec:
    return VectorSpec(vector.names, (vector.units,) * len(vector.names), padded)


def _normalisation(vector: Vector) -> Normalisation:
    if not vector.mean:
        return Normalisation("none")
    return Normalisation("mean_std", vector.mean, vector.std, eps_in=vector.eps)


def prompt_spec(source: Checkpoint) -> PromptSpec:
    """pi0's: BOS, the instruction, a newline. The tokenizer must know its marks and fit the token table."""
    try:
        tokens = Tokenizer.from_file(str(source.tokenizer))
    except Exception as error:  # the library raises nothing narrower
        raise CheckpointError(f"{source.tokenizer}: not a tokenizer.json ({error})") from error
    bos, pad = tokens.token_to_id("<bos>"), tokens.token_to_id("<pad>")
    if bos is None or pad is None:
        raise CheckpointError(f"{source.tokenizer}: has no <bos> or no <pad>; pi0 needs PaliGemma's tokenizer")
    if tokens.get_vocab_size() > source.config.vocab:
        raise CheckpointError(
            f"{source.tokenizer}: has {tokens.get_vocab_size()} tokens, the model's table {source.config.vocab}; "
            "it is another model's tokenizer"
        )
    return PromptSpec("{instruction}\n", source.max_tokens, bos, pad)
