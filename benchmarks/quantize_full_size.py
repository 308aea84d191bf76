"""`edge quantize` at full size: seconds and peak resident memory, on a pi0 of random weights that is thrown away.

    python -m benchmarks.quantize_full_size [--keep DIR] [--target NAME] [--json FILE]

pi0 has 3.24 B parameters: checkpoint, float32 bundle and quantized bundle take 24 GB. The observations are noise: what
is measured is what quantizing takes, and that the bundle which comes out answers as its original does, as far as random
weights can tell (`--accept-accuracy`: no gate is meant for them). The sensitivity table is left out: it takes an
inference a layer.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.export_full_size import SCRATCH, pi0
from benchmarks.recordings import step, write_recording
from edge_runtime.bundle import open_bundle
from edge_runtime.bundle_spec import PolicySpec
from edge_runtime.recording_spec import Step

RESULTS = Path(__file__).with_name("results") / "quantize_full_size.json"
LIMIT_GIB = 16.0
"""The most that quantizing may hold at a time."""
EPISODES, OBSERVATIONS = 3, 2


def main() -> int:
    """Make the bundle if it is not there, quantize it in a process of its own, tell what it took. 1: over the limit."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--keep", metavar="DIR", type=Path, help="work there, leave everything, use what is there")
    parser.add_argument("--target", default="jetpack6-orin")
    parser.add_argument("--json", metavar="FILE", type=Path, default=RESULTS, help=f"default {RESULTS.name}")
    asked = parser.parse_args()
    SCRATCH.mkdir(exist_ok=True)
    folder = asked.keep or Path(tempfile.mkdtemp(prefix="full-size-", dir=SCRATCH))
    try:
        found = measure(float_bundle(folder), folder, asked.target)
    finally:
        if asked.keep is None:
            shutil.rmtree(folder)
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    asked.json.write_text(json.dumps({"machine": machine, "limit_gib": LIMIT_GIB, **found}, indent=2) + "\n")
    print(f"pi0 for {asked.target}: {found['seconds']:.0f} s, peak {found['peak_gib']:.2f} GiB\n{asked.json}")
    return 0 if found["peak_gib"] <= LIMIT_GIB else 1


def float_bundle(folder: Path) -> Path:
    """The float32 bundle in `folder`, exported there first where it is not."""
    bundle, checkpoint = folder / "bundle", folder / "checkpoint"
    if not bundle.exists():
        checkpoint.mkdir(parents=True, exist_ok=True)
        pi0(checkpoint)
        command = [sys.executable, "-m", "edge_runtime", "export", str(checkpoint), "-o", str(bundle)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        shutil.rmtree(checkpoint)
    return bundle


def measure(bundle: Path, folder: Path, target: str) -> dict[str, Any]:
    """What quantizing took, and what came out."""
    spec = open_bundle(bundle).spec
    recording = folder / "recording"
    if not recording.exists():
        write_recording(recording, "random", spec, noise(spec))
    out = folder / f"bundle-{target}"
    command = [sys.executable, "-m", "edge_runtime", "quantize", str(bundle), str(recording), "-o", str(out)]
    command += ["--target", target, "--observations", str(OBSERVATIONS), "--no-sensitivity", "--accept-accuracy"]
    began = time.monotonic()
    running = subprocess.Popen([*command, "--json", str(folder / "inspect.json")], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(running.pid, 0)
    if status:
        raise SystemExit(f"quantizing failed with exit code {os.waitstatus_to_exitcode(status)}")
    facts = json.loads((folder / "inspect.json").read_text())
    return {
        "target": target,
        "parameters": sum(cost["parameters"] for cost in facts["manifest"]["costs"].values()),
        "observations": OBSERVATIONS,
        "seconds": round(time.monotonic() - began, 1),
        "peak_gib": round(used.ru_maxrss / (1 << 20), 3),
        "float32_bytes": size(bundle),
        "bytes": size(out),
        "parts": facts["manifest"]["quantization"]["parts"],
        "components": {name: row["relative_error"] for name, row in facts["accuracy"]["components"].items()},
        "actions": facts["accuracy"]["actions"],
    }


def noise(spec: PolicySpec) -> Iterator[list[Step]]:
    """Episodes of two steps each of noise."""
    rng = np.random.default_rng(0)
    for _ in range(EPISODES):
        yield [
            step(
                t_s,
                "pick up the red cup",
                rng.standard_normal(spec.state.dims),
                rng.standard_normal((spec.horizon, spec.action.dims)),
                {c.name: rng.integers(0, 256, (c.height, c.width, 3), np.uint8) for c in spec.cameras},
            )
            for t_s in (0.0, 1.0)
        ]


def size(bundle: Path) -> int:
    return sum(file.size for file in open_bundle(bundle).manifest.files.values())


if __name__ == "__main__":
    sys.exit(main())
