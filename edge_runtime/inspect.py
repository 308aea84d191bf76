"""`edge inspect BUNDLE`: what a bundle is and what it takes to run, for a person and for a program."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from edge_runtime import accuracy_text, quantization_text, roofline
from edge_runtime.accuracy import Accuracy
from edge_runtime.bundle import Bundle, open_bundle
from edge_runtime.bundle_spec import (
    GUIDE,
    CameraSpec,
    FastScheme,
    FlowSpec,
    Head,
    IntegerScheme,
    Manifest,
    Normalisation,
    PolicySpec,
    PromptSpec,
    TokenSpec,
    VectorSpec,
)
from edge_runtime.errors import BundleError
from edge_runtime.layer_table import LayerTable
from edge_runtime.pose_text import convention

WIDTH = 100
"""Columns of the text."""
T = TypeVar("T")
_MISSING = {"mask": "masked", "black": "shown black", "refuse": "refused"}
_MALFORMED = {"fault": "is a fault", "pad": "is padded as the reference does"}
_VERDICT = {
    "pass": "pass",
    "fail": "fail",
    "accepted": "accepted: its errors are beyond the gate, and a person accepted that when it was made",
}


def inspect(path: Path, device: str = "", precision: Iterable[str] = (), steps: int = 0) -> tuple[str, dict[str, Any]]:
    """Check the bundle at `path`, then say what it is: text, and the same and more as a dict that JSON can hold.

    With a `device` of `roofline.DEVICES` also what an inference takes there at least; `precision` and `steps` are those
    of `roofline.parts`. Raises `BundleError` for a bundle that the robot would refuse, `EdgeError` for a name that
    there is not.
    """
    if device:
        roofline.device(device)
    bundle, precision = open_bundle(path), tuple(precision)
    parts = roofline.parts(bundle.manifest, precision, steps)
    floor = roofline.roofline(parts, device) if device else None
    accuracy = _accuracy_of(bundle)
    quantization = bundle.manifest.quantization
    table = None if quantization is None else _read(path / quantization.table, LayerTable)
    facts = {
        "path": str(path),
        "manifest": msgspec.to_builtins(bundle.manifest),
        "accuracy": msgspec.to_builtins(accuracy),
        "layers": None if table is None else msgspec.to_builtins(table),
        "runs": {part.name: part.runs for part in parts},
        "roofline": None if floor is None else _floor_facts(floor, bundle.spec, precision),
    }
    lines = [*_interface(bundle), "", *_components(parts, floor)]
    lines += _field("what if", f"the precision were {', '.join(precision)}") if precision else []
    lines += _devices() if floor is None else _floor(floor, bundle.spec)
    if quantization is not None and table is not None:
        said = quantization_text.fields(quantization, bundle.manifest.source, table)
        lines += ["", *(line for label, words in said for line in _field(label, words))]
        lines += quantization_text.layers(table, WIDTH)
    return "\n".join((*lines, *_accuracy(accuracy, bundle.manifest.verdict), *_files(bundle))), facts


def _read(path: Path, type_: type[T]) -> T:
    """A JSON file of the bundle; `BundleError` where it is of another form."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=type_)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BundleError(f"{path}: {error}; make the bundle again") from error


def _accuracy_of(bundle: Bundle) -> Accuracy:
    path, verdict = bundle.path / bundle.manifest.accuracy, bundle.manifest.verdict
    accuracy = _read(path, Accuracy)
    if accuracy.verdict != ("fail" if verdict == "accepted" else verdict):
        raise BundleError(f"{path}: verdict is {accuracy.verdict}, the manifest says {verdict}; make the bundle again")
    return accuracy


def _field(label: str, text: str) -> list[str]:
    """One thing about the bundle, with its label, on as many lines as it takes."""
    return textwrap.wrap(
        text, WIDTH, initial_indent=f"  {label:<13}", subsequent_indent=" " * 15, break_on_hyphens=False
    )


def _interface(bundle: Bundle) -> list[str]:
    m, spec = bundle.manifest, bundle.spec
    rate = {"given": "", "checkpoint": ", as the checkpoint says", "assumed": ", assumed: the checkpoint does not say"}
    action = f"{_vector(spec.action, spec.action_normalisation)}; {spec.control_mode}{_relative(spec)}"
    return [
        f"{bundle.path}: {m.source.family} policy bundle, format {m.format}, from the {m.source.layout} layout",
        *_field("cameras", f"(height x width) {'; '.join(map(_camera, spec.cameras))}"),
        *_field("state", _vector(spec.state, spec.state_normalisation)),
        *_field("action", action),
        *(_field("convention", convention(spec)) if spec.pose else []),
        *_field("chunk", f"{_actions(spec)} at {1.0 / spec.dt_s:g} Hz{rate[m.source.rate]}"),
        *_field("head", _head(spec.head)),
        *_going_on(m),
        *_field("instruction", _prompt(spec.prompt) + ("" if m.tokenizer else "; no tokenizer: tokens only")),
        *_field("checkpoint", f"sha256 {m.source.checkpoint_sha256}"),
    ]


def _relative(spec: PolicySpec) -> str:
    """Which of the actions the model writes relative to the state, by those or by the others."""
    if not any(spec.relative):
        return ""
    some, others = (
        [name for name, flag in zip(spec.action.names, spec.relative, strict=True) if flag is wanted]
        for wanted in (True, False)
    )
    which = ", ".join(some) if len(some) < len(others) else f"all{' but ' if others else ''}{', '.join(others)}"
    return f"; the model writes {which} relative to the state"


def _actions(spec: PolicySpec) -> str:
    return f"{spec.horizon} action{'s' if spec.horizon > 1 else ''}"


def _camera(camera: CameraSpec) -> str:
    return f"{camera.name} {camera.height}x{camera.width}, {_MISSING[camera.missing]} when missing"


def _vector(vector: VectorSpec, norm: Normalisation) -> str:
    if not vector.dims:
        return "none"
    units = ", ".join(sorted(set(vector.units) - {""})) or "unit not recorded"
    names = ", ".join(vector.names)
    return f"{vector.dims} of {vector.padded}: {names} ({units}); {_normalisation(vector, norm)}"


def _normalisation(vector: VectorSpec, norm: Normalisation) -> str:
    as_is = [name for name, used in zip(vector.names, norm.mask, strict=False) if not used]
    words = "not normalised" if norm.kind == "none" else f"normalised by {norm.kind}"
    return words + (f" but for {', '.join(as_is)}" if as_is else "") + (f", within ±{norm.clip:g}" if norm.clip else "")


def _head(head: Head) -> str:
    if isinstance(head, FlowSpec):
        return f"flow matching, {head.steps} steps, t {head.t_start:g} → {head.t_end:g}, from {head.noise} noise"
    if isinstance(head, TokenSpec):
        return f"{_scheme(head)}; a malformed sequence {_MALFORMED[head.on_malformed]}"
    return "regression, the whole chunk at once"


def _going_on(manifest: Manifest) -> list[str]:
    """What a chunk may go on from, where that is more than nothing."""
    head, ways = manifest.spec.head, []
    if isinstance(head, FlowSpec) and head.committed:
        ways.append(f"up to {head.committed} committed actions, as it was trained to")
    if GUIDE in manifest.graphs:
        ways.append("any running chunk, by guidance: then guide runs in the place of step")
    return _field("goes on", f"from {'; from '.join(ways)}") if ways else []


def _scheme(head: TokenSpec) -> str:
    scheme = head.scheme
    if isinstance(scheme, FastScheme):
        return f"tokens of FAST, at most {head.max_new}"
    terminate = ", each action led by whether the task is done" if scheme.terminate else ""
    if isinstance(scheme, IntegerScheme):
        return f"tokens that spell integers, at most {head.max_new}{terminate}"
    return f"tokens of bins, one a number, {head.max_new} in all{terminate}"


def _prompt(prompt: PromptSpec) -> str:
    clean = f", after {', '.join(prompt.clean)}" if prompt.clean else ""
    return f"at most {prompt.max_tokens} tokens, {prompt.template!r}{clean}"


def _components(parts: list[roofline.Part], floor: roofline.Roofline | None) -> list[str]:
    """One row a component; `ms` is of all its runs together."""
    lines = [f"  {'component':<10}{'parameters':>14}  {'precision':<9}{'MB/run':>10}{'GFLOP/run':>11}{'runs':>7}"]
    for part in parts:
        often = f"≤ {part.runs}" if part.at_most else str(part.runs)
        lines.append(
            f"  {part.name:<10}{part.parameters:>14,}  {part.precision:<9}{_figure(part.bytes / 1e6):>10}"
            f"{_figure(part.flops / 1e9):>11}{often:>7}"
        )
    if floor is not None:
        columns = [f"{'ms':>10}  limited by", *(f"{_figure(f.ms):>10}  {f.limit}" for f in floor.floors)]
        lines = [line + column for line, column in zip(lines, columns, strict=True)]
    return lines


def _devices() -> list[str]:
    return _field("floor", f"say where: --device {', '.join(roofline.DEVICES)}")


def _floor(floor: roofline.Roofline, spec: PolicySpec) -> list[str]:
    """What the column of floors comes to, and what is not in it."""
    on, actions, needed = roofline.DEVICES[floor.device], spec.horizon * floor.rate_hz, 1.0 / spec.dt_s
    peaks = ", ".join(f"{name} {value / 1e12:g}" for name, value in on.peak.items())
    tokens, fewer = (f" of {floor.most_tokens} tokens", "; fewer take less") if floor.most_tokens else ("", "")
    rate = f"predicted rate at most {_figure(floor.rate_hz)} Hz{fewer}"
    return [
        *_field("device", f"{on.title}: {on.bandwidth / 1e9:g} GB/s; TFLOP/s {peaks}"),
        *_field("floor", f"at least {_figure(floor.ms)} ms an inference{tokens}: {rate}"),
        *_field(
            "actions",
            f"{spec.horizon} an inference: {_figure(actions)} a second at that rate, {needed:g} needed"
            f"{': too slow' if actions < needed else ''}",
        ),
        *_field("", _NOT_COUNTED),
    ]


_NOT_COUNTED = (
    "A floor, not a measurement: every weight read once a run, every product at the peak. Activations, keys and "
    "values, launches and the CPU are not counted. fp32 is without TF32; int4 is weights only, arithmetic in 16 bits."
)


def _floor_facts(floor: roofline.Roofline, spec: PolicySpec, precision: tuple[str, ...]) -> dict[str, Any]:
    components = {
        f.part.name: {
            "runs": f.part.runs,
            "at_most": f.part.at_most,
            "precision": f.part.precision,
            "bytes": f.part.bytes,
            "flops": f.part.flops,
            "limited_by": f.limit,
            "floor_ms": f.ms,
        }
        for f in floor.floors
    }
    return {
        "device": floor.device,
        "precision": ", ".join(precision) or "as exported",
        "components": components,
        "floor_ms": floor.ms,
        "rate_hz": floor.rate_hz,
        "actions_per_s": spec.horizon * floor.rate_hz,
        "actions_needed_per_s": 1.0 / spec.dt_s,
    }


def _figure(value: float) -> str:
    """Three figures that count, or as many as stand before the point; no more than four behind it."""
    behind = 2 - math.floor(math.log10(value)) if value > 0 else 0
    return f"{value:,.{min(4, max(0, behind))}f}"


def _accuracy(accuracy: Accuracy, verdict: str) -> list[str]:
    lines = ["", *_wrapped(f"against {accuracy.reference}, {accuracy.observations}: {_VERDICT[verdict]}", "  ")]
    lines.append(f"    {'':<22}{'cosine':>10}{'relative':>11}{'max error':>11}{'gate':>10}")
    for name, row in accuracy.components.items():
        gate = f"{row.gate * row.scale:>10.1e}" if row.gate is not None else ""
        lines.append(f"    {name:<22}{row.cosine:>10.7f}{row.relative_error:>11.1e}{row.max_error:>11.1e}{gate}")
    words = accuracy_text.actions(accuracy.actions)
    if accuracy.closed_loop is not None:
        words.append(accuracy_text.closed_loop(accuracy.closed_loop))
    if accuracy.head is not None:
        words.append(
            f"of {accuracy.head.steps} tokens, the full head's best was an action token "
            f"{accuracy.head.same_argmax} times, and then the same"
        )
    return [*lines, *(line for text in words for line in _wrapped(text, "    "))]


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  ", break_on_hyphens=False)


def _files(bundle: Bundle) -> list[str]:
    files = bundle.manifest.files
    lines = [f"  {name:<24} {entry.size:>14,}   {entry.sha256[:16]}…" for name, entry in files.items()]
    total = sum(entry.size for entry in files.values())
    return ["", "  file                              bytes   sha256", *lines, f"  {'all':<24} {total:>14,}"]
