"""Checkpoint → verified policy bundle: read, export, load again, compare, seal. All of it or nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import msgspec
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from edge_runtime.accuracy import FILE as ACCURACY
from edge_runtime.accuracy import Accuracy
from edge_runtime.bundle import MANIFEST, Bundle, seal
from edge_runtime.bundle_spec import (
    GUIDE,
    CameraSpec,
    Cost,
    FlowSpec,
    Manifest,
    PolicySpec,
    Source,
    TokenSpec,
    impossible,
)
from edge_runtime.probes import FILE as PROBES
from edge_runtime.probes import Probe, write_probes
from export import layouts, pieces, reference
from export.checkpoint import Checkpoint
from export.errors import CheckpointError, ExportError
from export.family import Family, family
from export.full_head import check_head, head_inputs
from export.graphs import CommittedGraph, ModelGraph
from export.guide import GuideGraph, written_out
from export.image import ImageGraph
from export.json_file import write_json
from export.layouts.options import Options
from export.layouts.text import read_tokenizer
from export.loading import bound, empty_model
from export.onnx_file import write_onnx
from export.staging import staged
from export.steps import Progress, Steps
from export.verify import verify
from export.weights import Weights

CONSTANTS, TOKENIZER = "constants.safetensors", "tokenizer.json"
LARGEST_SIDE = 1 << 14
"""Pixels of a frame's longer side, in every manifest."""
MODEL = "model."
"""What stands before a model's parameter names inside its graphs."""


def export_checkpoint(
    checkpoint: Path, out: Path, options: Options | None = None, progress: Progress | None = None
) -> Path:
    """Export the checkpoint directory `checkpoint` to a bundle at `out` and return `out`.

    An existing bundle at `out` is replaced when the new one is verified. Raises `CheckpointError`, `ExportError` and
    `BundleError`, and leaves nothing behind then.
    """
    steps = Steps(progress, "checkpoint")
    options = options or Options()
    source = _for_this_robot(layouts.read(checkpoint, options), options)
    kind = family(source.family)
    model = empty_model(source)
    weights = bound(source, model)
    modules: dict[str, nn.Module] = {
        "image": ImageGraph({c.name: (c.height, c.width) for c in source.spec.cameras}, source.image),
        **_real_time(kind.graphs(model, source), source, options),
    }
    manifest = _manifest(source, modules)
    problem = impossible(manifest)
    if problem:
        raise CheckpointError(f"{checkpoint}: {problem}")
    steps.names = ("checkpoint", "constants", *modules, "verification", "seal")
    with staged(out, marker=MANIFEST) as new:
        steps.begin("constants")
        _write_constants(kind, model, weights, source, new)
        written = {}
        for name, module in modules.items():
            steps.begin(name)
            counted = steps.counting({MODEL + key: read for key, read in weights.items()}, module)
            plain = written_out(module) if isinstance(module, GuideGraph) else module
            written[name] = write_onnx(plain, module.signature(), new / f"{name}.onnx", counted)  # type: ignore[operator]
        costs = {name: Cost(w.parameters, w.precision, w.bytes, w.flops) for name, w in written.items()}
        manifest = msgspec.structs.replace(manifest, costs=costs)
        steps.begin("verification")
        accuracy, probes = _verify(Bundle(new, manifest), source, modules, weights, steps.say)
        steps.begin("seal")
        write_probes(new / PROBES, probes)
        write_json(new / ACCURACY, accuracy)
        seal(new, manifest)
    steps.begin("done")
    return out


def _real_time(graphs: dict[str, ModelGraph], source: Checkpoint, options: Options) -> dict[str, nn.Module]:
    """The graphs as chunks that go on from each other need them (docs/rtc.md)."""
    head, found = source.spec.head, dict[str, nn.Module](graphs)
    if isinstance(head, FlowSpec) and head.committed:
        found["step"] = CommittedGraph(graphs["step"])
    if options.guided:
        found[GUIDE] = GuideGraph(graphs["step"])
    return found


def _write_constants(kind: Family, model: nn.Module, weights: Weights, source: Checkpoint, new: Path) -> None:
    with reference.reading(model, weights), torch.no_grad():
        constants = kind.constants(model, source)
    save_file({name: tensor.contiguous() for name, tensor in constants.items()}, new / CONSTANTS)
    (new / CONSTANTS).chmod(0o644)
    if source.tokenizer is not None:
        read_tokenizer(source.tokenizer).save(str(new / TOKENIZER))
    for name, file in source.files.items():
        (new / name).write_bytes(file.read_bytes())


def _verify(
    bundle: Bundle,
    source: Checkpoint,
    modules: Mapping[str, nn.Module],
    weights: Weights,
    told: Callable[[float], None],
) -> tuple[Accuracy, list[Probe]]:
    in_graphs = {MODEL + key: read for key, read in weights.items()}
    given = {name: (module, None if name == "image" else in_graphs) for name, module in modules.items()}
    vocab = source.config.vocab
    torch_engine, engine = reference.Engine(given), pieces.Engine(os.cpu_count() or 1)
    if not isinstance(source.spec.head, TokenSpec):
        return verify(bundle, vocab, torch_engine, engine, told)
    with head_inputs(modules["prefill"].get_submodule("model")) as hidden:
        accuracy, probes = verify(bundle, vocab, torch_engine, engine, told)
    names = frozenset(name.removeprefix(source.prefix) for name in source.stored.names)
    table = source.stored.tensor(source.prefix + family(source.family).source("head.weight", names, source.config).name)
    token_ids = load_file(bundle.path / CONSTANTS)["token_ids"]
    return msgspec.structs.replace(accuracy, head=check_head(hidden, table, token_ids)), probes


def _refuse_unused(source: Checkpoint, options: Options) -> None:
    """Raise `ExportError` for the first option that says nothing to a checkpoint of this kind."""
    family, prismatic = source.family, source.family.startswith("openvla")
    flow = isinstance(source.spec.head, FlowSpec)
    unused = {
        "--steps": options.steps is not None and not flow,
        "--committed": options.committed is not None and not flow,
        "--guided": options.guided and not flow,
        "--fast-tokenizer": options.fast_tokenizer is not None and family != "pi0_fast",
        "--crop": options.crop and not prismatic,
        "--statistics": options.statistics is not None and not prismatic and source.layout != "openpi",
    }
    for name in (name for name, is_unused in unused.items() if is_unused):
        raise ExportError(f"{name}: says nothing to a {family} in the {source.layout} layout; leave it out")


def _for_this_robot(source: Checkpoint, options: Options) -> Checkpoint:
    """The checkpoint with this robot's frames in its spec."""
    spec = source.spec
    _refuse_unused(source, options)
    known = {camera.name: camera for camera in spec.cameras}
    for name, size in options.cameras.items():
        if name not in known:
            raise ExportError(f"camera {name}: the checkpoint has {', '.join(known)}")
        if min(size) < 1 or max(size) > LARGEST_SIDE:
            raise ExportError(f"camera {name}: {size[1]}×{size[0]} is not a size of a frame")
    cameras = tuple(_sized(camera, options.cameras.get(camera.name), source) for camera in spec.cameras)
    return replace(source, spec=msgspec.structs.replace(spec, cameras=cameras))


def _sized(camera: CameraSpec, size: tuple[int, int] | None, source: Checkpoint) -> CameraSpec:
    height, width = size or (camera.height, camera.width)
    if not height or not width:
        raise CheckpointError(
            f"camera {camera.name}: the {source.layout} layout does not record the size of its frames; give it with "
            f"--camera {camera.name}=480x640 (height x width)"
        )
    return msgspec.structs.replace(camera, height=height, width=width)


def _manifest(source: Checkpoint, components: Iterable[str]) -> Manifest:
    """The manifest of a bundle of these graphs, which cost nothing yet."""
    names = tuple(components)
    spec: PolicySpec = source.spec
    return Manifest(
        source=Source(source.family, source.layout, source.stored.sha256(), source.rate),
        spec=spec,
        graphs={name: f"{name}.onnx" for name in names},
        costs=dict.fromkeys(names, Cost(0, "float32", 0, 0)),
        constants=CONSTANTS,
        tokenizer=TOKENIZER if source.tokenizer is not None else "",
        accuracy=ACCURACY,
        probes=PROBES,
        verdict="pass",
    )
