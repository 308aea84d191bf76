"""Every graph of every family, at every precision that Orin has, through TensorRT-RTX for SM86: what it takes.

    python -m benchmarks.compile_matrix [--family NAME] [--json FILE]

The checkpoints are the tests' tiny ones: operators and types of the real ones, in seconds. Each variant is compiled in
a process of its own, so that one that takes TensorRT down with it is a row like any other. What this proves and what
not is said below the table.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.progress import track

from edge_runtime import cli
from edge_runtime.engines.compile import AHEAD, ALWAYS, JETPACK_6, NEVER, UNRUN

RESULTS = Path(__file__).with_name("results") / "compile_matrix.json"
ARCH = "sm86"
TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Row:
    """One variant of one family. `graphs`: graph → bytes and seconds of its engine; `refused`: why there are none.

    `tensorrt_10_3`: what TensorRT 10.3 does not take, a line each.
    """

    family: str
    variant: str
    graphs: dict[str, dict[str, float]]
    tensorrt_10_3: list[str]
    refused: str

    @property
    def good(self) -> bool:
        return not self.refused and not self.tensorrt_10_3


def main() -> int:
    """Print the table and write it as JSON. Exit code 1: something was refused."""
    checkpoints = _checkpoints()
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--family", choices=sorted(checkpoints), action="append", help="only this one")
    parser.add_argument("--json", metavar="FILE", type=Path, default=RESULTS, help=f"default {RESULTS.name}")
    asked = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in track(asked.family or sorted(checkpoints), "compiling", transient=True):
            bundle = checkpoints[name](Path(folder) / name)
            rows += [row(name, variant, path) for variant, path in variants(bundle)]
            shutil.rmtree(Path(folder) / name)
    proves = {"proves": list(ALWAYS), "does_not_prove": [*UNRUN, *NEVER, *AHEAD]}
    asked.json.write_text(json.dumps({"arch": ARCH, "rows": [asdict(r) for r in rows], **proves}, indent=2) + "\n")
    print(table(rows))
    for label, lines in proves.items():
        print(f"{label.replace('_', ' ')}: {'; '.join(lines)}")
    print(asked.json)
    return 0 if all(r.good for r in rows) else 1


def variants(bundle: Path) -> Iterator[tuple[str, Path]]:
    """The bundle as it was exported."""
    yield "fp32", bundle


def row(family: str, variant: str, bundle: Path) -> Row:
    """Compile one bundle in another process."""
    told = bundle.parent / "compiled.json"
    command = [sys.executable, "-m", "edge_runtime", "compile", str(bundle), "--backend", "trt-rtx", "--for", ARCH]
    try:
        done = subprocess.run(
            [*command, "--json", str(told)], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Row(family, variant, {}, [], f"not done in {TIMEOUT_S:.0f} s")
    if done.returncode:
        return Row(family, variant, {}, [], _why(done).replace(f"{bundle}{os.sep}", ""))
    found = json.loads(told.read_text(encoding="utf-8"))
    graphs = {name: {"bytes": g["size"], "seconds": g["seconds"]} for name, g in found["graphs"].items()}
    lacking = found["tensorrt_10_3_does_not_take"]
    return Row(family, variant, graphs, [f"{name}: {line}" for name, lines in lacking.items() for line in lines], "")


def _why(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode < 0:
        return f"killed by {signal.Signals(-done.returncode).name}"
    said = [line for line in done.stderr.splitlines() if line.startswith("edge: ")]
    return said[-1].removeprefix("edge: ") if said else f"exit code {done.returncode}"


def table(rows: list[Row]) -> str:
    """A line a variant: its graphs with the bytes of their engines, or why there are none."""
    lines = [f"{'family':<24}{'variant':<16}{f'TensorRT {JETPACK_6}':<16}engines for {ARCH}, bytes"]
    for r in rows:
        sizes = ", ".join(f"{name} {graph['bytes']:,.0f}" for name, graph in r.graphs.items())
        listed = "-" if r.refused else f"{len(r.tensorrt_10_3)} not taken" if r.tensorrt_10_3 else "takes all"
        lines.append(f"{r.family:<24}{r.variant:<16}{listed:<16}{sizes or 'refused: ' + r.refused}")
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
        raise SystemExit(code)
    return folder / "bundle"


if __name__ == "__main__":
    sys.exit(main())
