"""`edge inspect BUNDLE`: what a bundle is, for a person and for a program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from edge_runtime.bundle import Bundle, VectorSpec, open_bundle


def inspect(path: Path) -> tuple[str, dict[str, Any]]:
    """Check the bundle at `path`, then say what it is: text, and the same and more as a dict that JSON can hold.

    Raises `BundleError` for a bundle that the robot would refuse.
    """
    bundle = open_bundle(path)
    accuracy = msgspec.json.decode((path / bundle.manifest.accuracy).read_bytes())
    facts = {"path": str(path), "manifest": msgspec.to_builtins(bundle.manifest), "accuracy": accuracy}
    return "\n".join((*_interface(bundle), *_components(bundle), *_accuracy(accuracy), *_files(bundle))), facts


def _interface(bundle: Bundle) -> list[str]:
    m, spec = bundle.manifest, bundle.spec
    rate = {"given": "", "checkpoint": ", as the checkpoint says", "assumed": ", assumed: the checkpoint does not say"}
    return [
        f"{bundle.path}: {m.source.family} policy bundle, format {m.format}, from the {m.source.layout} layout",
        f"  cameras      {', '.join(f'{c.name} {c.width}×{c.height}' for c in spec.cameras)}",
        f"  state        {_vector(spec.state)}",
        f"  action       {_vector(spec.action)}, {spec.control_mode}",
        f"  chunk        {spec.horizon} actions at {1.0 / spec.dt_s:g} Hz{rate[m.source.rate]}",
        f"  flow         {spec.flow.steps} steps, t {spec.flow.t_start:g} → {spec.flow.t_end:g}",
        f"  instruction  at most {spec.prompt.max_tokens} tokens, {spec.prompt.template!r}",
        f"  checkpoint   sha256 {m.source.checkpoint_sha256}",
    ]


def _vector(vector: VectorSpec) -> str:
    units = ", ".join(sorted(set(vector.units))) or "unit not recorded"
    return f"{vector.dims} of {vector.padded}: {', '.join(vector.names)} ({units})"


def _components(bundle: Bundle) -> list[str]:
    m = bundle.manifest
    lines = ["", "  component    parameters   precision"]
    lines += [f"  {name:<12} {m.parameters[name]:>10,}   {m.precision[name]}" for name in m.graphs]
    return lines


def _accuracy(accuracy: dict[str, Any]) -> list[str]:
    rows = {**accuracy["components"], "end to end": accuracy["end_to_end"]}
    lines = ["", f"  against {accuracy['reference']}: {accuracy['verdict']}"]
    for name, row in rows.items():
        lines.append(
            f"    {name:<20} cosine {row['cosine']:.7f}  max error {row['max_error']:.1e}  mean {row['mean_error']:.1e}"
            f"   {row['unit']} (gate {row['gate'] * row['scale']:.1e})"
        )
    return lines


def _files(bundle: Bundle) -> list[str]:
    files = bundle.manifest.files
    lines = [f"  {name:<24} {entry.size:>14,}   {entry.sha256[:16]}…" for name, entry in files.items()]
    total = sum(entry.size for entry in files.values())
    return ["", "  file                              bytes   sha256", *lines, f"  {'all':<24} {total:>14,}"]
