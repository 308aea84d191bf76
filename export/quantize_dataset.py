"""`edge quantize` and `edge verify --against`, without their options' parsing: observations come from a dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from calibration.datasets.base import Dataset
from calibration.describe import OnCorrupt
from calibration.observations import Samples, Takes, samples
from calibration.open_dataset import open_dataset
from edge_runtime.accuracy import Accuracy
from edge_runtime.backends.base import Backend
from edge_runtime.bundle import Bundle, open_bundle
from edge_runtime.errors import InstructionError
from export import pieces
from export.errors import ExportError
from export.judge import as_probes, engine_for, judge, prompt_tokenizer
from export.quantize_bundle import Asked, quantize_bundle
from export.steps import Progress, Steps

__all__ = ["Asked", "run", "verify_against"]


def run(
    bundle: Path,
    dataset: Path,
    out: Path,
    asked: Asked,
    mapped: Iterable[str],
    observations: int,
    on_corrupt: OnCorrupt,
    warn: Callable[[str], None],
    progress: Progress | None = None,
) -> Path:
    """Quantize `bundle` with `observations` of `dataset`; `mapped` are "NAME=FIELD". Returns `out`.

    `warn` is told, in one line each, of frames that were resized, of actions that are others than the policy's, and of
    what was left out.
    """
    mapping, opened = field_map(mapped), open_dataset(dataset)

    def seen(original: Bundle, told: Callable[[float], None]) -> Samples:
        return _observed(opened, original, mapping, observations, None, asked.seed, on_corrupt, warn, told)

    return quantize_bundle(bundle, seen, out, asked, progress)


def verify_against(
    bundle: Path,
    reference: Path,
    dataset: Path,
    mapped: Iterable[str],
    observations: int,
    seed: int,
    on_corrupt: OnCorrupt,
    warn: Callable[[str], None],
    threads: int,
    backend: Backend | None = None,
    progress: Progress | None = None,
) -> Accuracy:
    """What accuracy.json of the quantized `bundle` says, computed anew on `observations` of `dataset`.

    They come from the episodes that `edge quantize` with this `seed` holds out of the same dataset, and are the same
    ones where it held out as many. `reference` must be the bundle that `bundle` was made of. `warn` is told as `run`
    tells it. `backend` runs `bundle`, where it is not to be what judged it first. Raises
    `EdgeError`s, one line each.
    """
    steps = Steps(progress, "bundles")
    mapping, opened = field_map(mapped), open_dataset(dataset)
    made, original = _pair(bundle, reference)
    steps.names = ("bundles", "observations", "verification")
    steps.begin("observations")
    asked = mapping, observations, observations, seed, on_corrupt
    seen = _observed(opened, original, *asked, warn, steps.say)
    _, probes = as_probes(original, seen, seed)
    steps.begin("verification")
    engine = backend or engine_for(made.manifest, threads)
    accuracy, _ = judge(made, original, engine, pieces.Engine(threads), probes, steps.say)
    return accuracy


def _pair(bundle: Path, reference: Path) -> tuple[Bundle, Bundle]:
    """The quantized bundle and its original, or `ExportError`."""
    made = open_bundle(bundle)
    if made.manifest.quantization is None:
        raise ExportError(f"{bundle}: is in float32 and was made of no other bundle; edge verify it without --against")
    original, origin = open_bundle(reference), made.manifest.quantization.origin
    if original.manifest.seal != origin:
        raise ExportError(
            f"{reference}: has the seal {original.manifest.seal[:16]}…, and {bundle} was made of {origin[:16]}…; "
            "name the bundle that it was made of"
        )
    return made, original


def field_map(mapped: Iterable[str]) -> dict[str, str]:
    """("base=image_0", …) → {"base": "image_0"}; `ExportError` for what is none."""
    found: dict[str, str] = {}
    for words in mapped:
        name, equals, field = words.partition("=")
        if not (name and equals) or name in found:
            raise ExportError(f"--map {words}: expected NAME=FIELD, each name once, such as base=image_0")
        found[name] = field
    return found


def _takes(bundle: Bundle) -> Takes:
    """Why the bundle's policy cannot take an instruction; `ExportError` at once where it can take none."""
    tokenizer = prompt_tokenizer(bundle)

    def why(instruction: str) -> str:
        try:
            tokenizer.encode(instruction)
        except InstructionError as error:
            return str(error)
        return ""

    return why


def _observed(
    dataset: Dataset,
    original: Bundle,
    mapping: Mapping[str, str],
    count: int,
    held_out: int | None,
    seed: int,
    on_corrupt: OnCorrupt,
    warn: Callable[[str], None],
    told: Callable[[float], None],
) -> Samples:
    """Samples of `dataset` for the policy of `original`, with what there is to be said of them."""
    found = samples(
        dataset,
        original.spec,
        mapping,
        count=count,
        held_out=held_out,
        seed=seed,
        on_corrupt=on_corrupt,
        takes=_takes(original),
        told=lambda done, of: told(done / max(of, 1)),
    )
    for remark in found.remarks:
        warn(f"{dataset.name}: {remark}")
    if found.corrupt:
        left_out = len(found.corrupt)
        warn(f"{dataset.name}: {left_out} record{'s' if left_out > 1 else ''} left out, the first: {found.corrupt[0]}")
    return found
