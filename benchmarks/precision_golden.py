"""What W8A8 does to the reference checkpoints: `python -m benchmarks.precision_golden [--json FILE]`.

Every reference set beside the checkout is exported and quantized for the CPU and for the Orin, with its own instruction
and noise for pictures. Their weights are random: components say whether the arithmetic holds, actions of token models
say little, because random logits have no clear best token. No gate is meant for them (`--accept-accuracy`).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.progress import track

from benchmarks.demo.precision import interleaved, observed, weight_bytes
from benchmarks.recordings import step, write_recording
from edge_runtime.accuracy import Accuracy
from edge_runtime.bundle import open_bundle
from edge_runtime.bundle_spec import PolicySpec
from edge_runtime.recording_spec import Step
from export.pipeline import export_checkpoint
from export.quantize_bundle import Asked, quantize_bundle
from tests.export.golden import SHARED, Golden, sets

RESULTS = Path(__file__).with_name("results") / "precision_golden.json"
EPISODES, STEPS = 6, 8


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="What W8A8 does to the reference checkpoints.")
    parser.add_argument("--json", type=Path, default=RESULTS)
    given = parser.parse_args(arguments)
    found = sets(SHARED)
    if not found:
        print(f"skipped: there are no reference sets at {SHARED / 'golden'}")
        return 0
    rows = [row for golden in track(found, "quantizing", transient=True) for row in measured(golden)]
    given.json.write_text(
        json.dumps({"machine": f"{platform.machine()}, {os.cpu_count()} cores", "rows": rows}, indent=2) + "\n"
    )
    print(table(rows))
    print(given.json)
    return 0


def measured(golden: Golden) -> Iterator[dict[str, Any]]:
    """A row a target."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = export_checkpoint(golden.checkpoint, folder / "bundle", golden.options())
        opened = open_bundle(bundle)
        if not opened.manifest.tokenizer or golden.instruction is None:
            yield {"set": golden.kind, "skipped": "it has no tokenizer, so a recording's words say nothing to it"}
            return
        steps = episodes(opened.spec, golden.instruction)
        recording = write_recording(folder / "recording", "random", opened.spec, steps)
        for target in ("cpu", "jetpack6-orin"):
            out = folder / target
            asked = Asked(target, accept=True, sensitivity=False)
            quantize_bundle(bundle, partial(observed, recording), out, asked)
            made = open_bundle(out)
            accuracy = msgspec.json.decode((out / made.manifest.accuracy).read_bytes(), type=Accuracy)
            worst = min(accuracy.components.items(), key=lambda item: item[1].cosine)
            row = {
                "set": golden.kind,
                "target": target,
                "bytes": weight_bytes(out),
                "float32_bytes": weight_bytes(bundle),
                "worst": {"component": worst[0], "cosine": worst[1].cosine, "relative_error": worst[1].relative_error},
                "actions": msgspec.to_builtins(accuracy.actions),
            }
            if not made.manifest.has_half:
                row["ms"], row["float32_ms"] = interleaved(out, bundle)
            yield row


def episodes(spec: PolicySpec, words: str) -> Iterator[list[Step]]:
    """Noise that the policy's normalisation takes for data."""
    rng = np.random.default_rng(0)
    norm = spec.state_normalisation
    a, b = (np.asarray(x or np.zeros(spec.state.dims)) for x in (norm.a, norm.b))
    centre, spread = (a, b) if norm.kind == "mean_std" else ((a + b) / 2.0, (b - a) / 4.0)
    for _ in range(EPISODES):
        yield [
            step(
                float(i),
                words,
                rng.standard_normal(spec.state.dims) * spread + centre,
                rng.standard_normal((spec.horizon, spec.action.dims)),
                {c.name: rng.integers(0, 256, (c.height, c.width, 3), np.uint8) for c in spec.cameras},
            )
            for i in range(STEPS)
        ]


def table(rows: list[dict[str, Any]]) -> str:
    """The figures for people."""
    heads = f"{'of fp32':>8}{'worst component':>26}{'cosine':>9}{'mean':>8}{'tokens':>8}  ms (fp32)"
    lines = [f"{'set':20}{'target':15}{heads}"]
    for row in rows:
        if "skipped" in row:
            lines.append(f"{row['set']:20}skipped: {row['skipped']}")
            continue
        errors, worst = row["actions"], row["worst"]
        same = "" if errors["tokens_same"] is None else f"{errors['tokens_same']:.0%}"
        times = f"  {row['ms']:.1f} ({row['float32_ms']:.1f})" if "ms" in row else ""
        lines.append(
            f"{row['set']:20}{row['target']:15}{row['bytes'] / row['float32_bytes']:>8.0%}{worst['component']:>26}"
            f"{worst['cosine']:>9.5f}{errors['mean_share']:>8.2%}{same:>8}{times}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
