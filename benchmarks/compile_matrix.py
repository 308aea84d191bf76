"""Every graph of every family, at every precision that Orin has, through TensorRT-RTX for SM86: what it takes.

    python -m benchmarks.compile_matrix [--family NAME] [--json FILE]

The checkpoints are the tests' tiny ones: operators and types of the real ones, in seconds; they are quantized on noise.
Each variant is compiled in a process of its own, so that one that takes TensorRT down with it is a row like any other.
What this proves and what not is said below the table.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import multiprocessing as mp
import os
import platform
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
from rich.progress import track

from benchmarks.quantize_full_size import noise
from benchmarks.recordings import write_recording
from calibration.observations import Samples, samples
from calibration.open_dataset import open_dataset
from edge_runtime import cli
from edge_runtime.bundle import Bundle, open_bundle
from edge_runtime.engines.api import load_api
from edge_runtime.engines.compile import ALWAYS, JETPACK_6, NEVER, STANDS_IN, UNRUN
from edge_runtime.errors import EdgeError
from export import precision
from export.layers import ALL_PARTS, PROJECTIONS
from export.observe import bundle_layers
from export.quantize_bundle import Asked, quantize_bundle

RESULTS = Path(__file__).with_name("results") / "compile_matrix.json"
ARCH, TARGET = "sm86", "jetpack6-orin"
TIMEOUT_S = 600.0
LARGEST_BLOCK = 16
WORDS = "up"
"""An instruction that every tiny policy has room for."""
PARTS = tuple(part for part in ALL_PARTS if part != PROJECTIONS)


@dataclass(frozen=True)
class Variant:
    """`precision` of the parts that are not as the target's preset has them, where a model has them.

    `wide`: as where ranges pass what float16 is trusted with, so that bfloat16 stands in its place.
    """

    name: str
    precision: Mapping[str, str]
    wide: bool = False


VARIANTS = (
    Variant("fp16", dict.fromkeys(PARTS, "fp16")),
    Variant("bf16", dict.fromkeys(PARTS, "bf16")),
    Variant("W8A8, fp16", {}),
    Variant("W8A8, bf16", {}, wide=True),
    Variant("W8A8, vision too", {"vision": "int8"}),
    Variant("int4, fp16", {"backbone": "int4", "expert": "int4"}),
    Variant("int4, bf16", {"backbone": "int4", "expert": "int4"}, wide=True),
    Variant("W8A8, int4 expert", {"expert": "int4"}),
)
"""The third is Orin's preset; a type behind the comma is that between the integers."""


@dataclass(frozen=True)
class Row:
    """One variant of one family. `graphs`: graph → bytes and seconds of its engine; `refused`: why there are none.

    `parts`: what each part of the model is in; `block`: of int4, 0 where there is none. `tensorrt_10_3`: what TensorRT
    10.3 does not take, a line each.
    """

    family: str
    variant: str
    parts: dict[str, str]
    block: int
    graphs: dict[str, dict[str, float]]
    tensorrt_10_3: list[str]
    refused: str

    @property
    def good(self) -> bool:
        return not self.refused and not self.tensorrt_10_3


def main() -> int:
    """Print the table and write it as JSON. Exit code 1: something was refused."""
    known = sorted(_checkpoints())
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--family", choices=known, action="append", help="only this one")
    parser.add_argument("--json", metavar="FILE", type=Path, default=RESULTS, help=f"default {RESULTS.name}")
    asked = parser.parse_args()
    began, families = time.monotonic(), asked.family or known
    with mp.get_context("spawn").Pool(os.cpu_count()) as pool:
        found = track(pool.imap(rows_of, families), "compiling", total=len(families), transient=True)
        rows = [row for family in found for row in family]
        pool.close()
        pool.join()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    taken = {"seconds": round(time.monotonic() - began, 1), "cpu_seconds": round(used.ru_utime + used.ru_stime, 1)}
    proves = {"proves": list(ALWAYS), "does_not_prove": [*UNRUN, *NEVER, *STANDS_IN]}
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    version = load_api("trt_rtx").name
    told = {"machine": machine, "library": version, "arch": ARCH, "target": TARGET, **taken, **proves}
    told["rows"] = [asdict(r) for r in rows]
    asked.json.parent.mkdir(parents=True, exist_ok=True)
    asked.json.write_text(json.dumps(told, indent=1) + "\n")
    print(table(rows))
    for label, lines in proves.items():
        print(f"{label.replace('_', ' ')}: {'; '.join(lines)}")
    print(f"{taken['seconds']:.0f} s, {taken['cpu_seconds']:.0f} s of processor\n{asked.json}")
    return 0 if all(r.good for r in rows) else 1


def rows_of(family: str) -> list[Row]:
    """Export one family and compile it at every precision; what is another layout of one, in float32 alone."""
    known = _checkpoints()
    first = min(name for name in known if name.split()[1] == family.split()[1])
    with tempfile.TemporaryDirectory() as folder:
        bundle = known[family](Path(folder) / "family")
        made = variants(bundle) if family == first else islice(variants(bundle), 1)
        return [row(family, name, path) for name, path in made]


def variants(bundle: Path) -> Iterator[tuple[str, Path | str]]:
    """The bundle as it was exported, then quantized; a text says why one could not be."""
    yield "fp32", bundle
    opened = open_bundle(bundle)
    episodes = ([msgspec.structs.replace(step, instruction=WORDS) for step in e] for e in noise(opened.spec))
    recording = write_recording(bundle.parent / "recording", "random", opened.spec, episodes)
    has, block = _present(opened)
    for variant in VARIANTS:
        chosen = {part: kind for part, kind in variant.precision.items() if part in has}
        if variant.precision and not chosen:
            continue
        words = tuple(f"{part}={kind}" for part, kind in chosen.items())
        asked = Asked(TARGET, words, block=block, accept=True, sensitivity=False, threads=1)
        out = bundle.parent / "quantized"
        limit = mock.patch.object(precision, "FP16_LIMIT", 0.0) if variant.wide else contextlib.nullcontext()
        try:
            with limit:
                yield variant.name, quantize_bundle(bundle, partial(_observed, recording), out, asked)
        except EdgeError as error:
            yield variant.name, str(error)


def _present(bundle: Bundle) -> tuple[set[str], int]:
    """The parts that a model has, and the largest int4 block that divides the widths of its layers."""
    layers = [layer for graph in bundle_layers(bundle).values() for layer in graph]
    widths = [layer.width for layer in layers if layer.part != "vision"]
    return {"table", *(layer.part for layer in layers)}, math.gcd(LARGEST_BLOCK, *widths)


def _observed(recording: Path, bundle: Bundle, _told: Callable[[float], None]) -> Samples:
    return samples(open_dataset(recording), bundle.spec, {}, count=2, held_out=1, seed=0, on_corrupt="fail")


def row(family: str, variant: str, bundle: Path | str) -> Row:
    """Compile one bundle in another process."""
    if isinstance(bundle, str):
        return Row(family, variant, {}, 0, {}, [], bundle)
    made = open_bundle(bundle).manifest.quantization
    parts, block = (made.parts, made.block) if made else ({}, 0)
    known = Row(family, variant, parts, block if "int4" in parts.values() else 0, {}, [], "")
    told = bundle.parent / "compiled.json"
    command = [sys.executable, "-m", "edge_runtime", "compile", str(bundle), "--backend", "trt-rtx", "--for", ARCH]
    try:
        done = subprocess.run(
            [*command, "--json", str(told)], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return replace(known, refused=f"not done in {TIMEOUT_S:.0f} s")
    if done.returncode:
        return replace(known, refused=_why(done).replace(f"{bundle}{os.sep}", ""))
    found = json.loads(told.read_text(encoding="utf-8"))
    graphs = {name: {"bytes": g["size"], "seconds": g["seconds"]} for name, g in found["graphs"].items()}
    lacking = found["tensorrt_10_3_does_not_take"]
    lines = [f"{name}: {line}" for name, lines in lacking.items() for line in lines]
    return replace(known, graphs=graphs, tensorrt_10_3=lines)


def _why(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode < 0:
        return f"killed by {signal.Signals(-done.returncode).name}"
    said = [line for line in done.stderr.splitlines() if line.startswith("edge: ")]
    return said[-1].removeprefix("edge: ") if said else f"exit code {done.returncode}"


def table(rows: list[Row]) -> str:
    """A line a variant: its graphs with the bytes of their engines, or why there are none."""
    lines = [f"{'family':<24}{'variant':<20}{f'TensorRT {JETPACK_6}':<16}engines for {ARCH}, bytes"]
    for r in rows:
        sizes = ", ".join(f"{name} {graph['bytes']:,.0f}" for name, graph in r.graphs.items())
        listed = "-" if r.refused else f"{len(r.tensorrt_10_3)} not taken" if r.tensorrt_10_3 else "takes all"
        lines.append(f"{r.family:<24}{r.variant:<20}{listed:<16}{sizes or 'refused: ' + r.refused}")
        lines += [f"{'':<24}{line}" for line in r.tensorrt_10_3]
    return "\n".join(lines)


def _checkpoints() -> dict[str, Callable[[Path], Path]]:
    """Family and layout → what exports its tiny checkpoint in a folder and returns the bundle."""
    from tests.export import tiny, tiny_rt2
    from tests.export.test_zoo_bundles import KINDS

    def kind(k: Any) -> Callable[[Path], Path]:
        return lambda folder: _exported(folder, k.make(_made(folder)), k.words)

    found = {k.name: kind(k) for k in KINDS}
    found["lerobot pi0"] = lambda folder: _exported(folder, tiny.saved(_made(folder)), ())
    found["huggingface rt2"] = lambda folder: _exported(folder, tiny_rt2.write(_made(folder) / "c"), ())
    return found


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _exported(folder: Path, checkpoint: Path, words: tuple[str, ...]) -> Path:
    from tests.export import tiny_pi

    fast = str(tiny_pi.fast_tokenizer(folder / "fast"))
    given = [fast if word == "fast" else word for word in words]
    told = ["--json", str(folder / "export.json")]
    with Path(os.devnull).open("w") as nothing, contextlib.redirect_stdout(nothing):
        code = cli.main(["export", str(checkpoint), "-o", str(folder / "bundle"), *given, *told])
    if code:
        raise RuntimeError(f"edge export ended with {code}")
    return folder / "bundle"


if __name__ == "__main__":
    sys.exit(main())
