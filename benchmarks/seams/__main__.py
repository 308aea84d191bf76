"""How chunks should be joined, by how long the policy takes: `python -m benchmarks.seams`, or `make seams`.

Every seam of `[motion]` drives the same episodes of the demo task at every delay. A cell that is in `--json` already,
of as many episodes of the same checkpoint, is not driven again: stopped, the benchmark goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing as mp
import os
import sys
import tempfile
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from rich.progress import track

from benchmarks.demo.evaluate import CHECKPOINT
from benchmarks.seams.cells import DELAYS_MS, SEAMS, Cell, alone, drive, figures
from benchmarks.seams.show import plot, table

RESULTS = Path(__file__).parents[1] / "results/seams.json"
PLOT = Path(__file__).parents[2] / "docs/seams.svg"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.seams", description="Compare the seams between chunks.")
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--episodes", type=int, default=50, help="episodes a cell")
    parser.add_argument("--seam", action="append", choices=SEAMS, help="leave out the others")
    parser.add_argument("--delay", action="append", type=int, metavar="MS", help="injected delays instead of the usual")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", type=Path, default=RESULTS, help="finished cells are kept here")
    parser.add_argument("--plot", type=Path, default=PLOT, help="draw the plot into this SVG file")
    given = parser.parse_args(arguments)
    wanted = list(product(given.delay or DELAYS_MS, given.seam or SEAMS))
    found = _begun(given.json, given.checkpoint, given.episodes)
    have = {(c["delay_ms"], c["seam"]) for c in found["cells"]}
    if missing := [cell for cell in wanted if cell not in have]:
        _drive(missing, found, given.json, given.checkpoint, given.processes)
    print(table(found["cells"]))
    given.plot.write_text(plot(found["cells"]))
    return 0


def _begun(path: Path, checkpoint: Path, episodes: int) -> dict[str, Any]:
    """What is there already, if it is of this checkpoint and so many episodes."""
    made = {"checkpoint": _digest(checkpoint), "episodes": episodes}
    found = json.loads(path.read_text()) if path.exists() else {}
    return found if {key: found.get(key) for key in made} == made else {**made, "cells": []}


def _drive(missing: list[tuple[int, Any]], found: dict[str, Any], path: Path, checkpoint: Path, processes: int) -> None:
    """Drive the missing cells, each written to `path` when it is done."""
    from export.layouts.options import Options
    from export.pipeline import export_checkpoint

    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder, mp.get_context("spawn").Pool(processes, alone) as pool:
        bundle = export_checkpoint(checkpoint, Path(folder) / "bundle", Options(guided=True))
        for delay_ms, seam in missing:
            cell = Cell(bundle, seam, delay_ms)
            parts = pool.imap(partial(drive, cell=cell), range(found["episodes"]))
            outcomes = list(track(parts, description=f"{seam} {delay_ms} ms", total=found["episodes"]))
            found["cells"].append(figures(cell, outcomes))
            found["cells"].sort(key=lambda c: (c["delay_ms"], SEAMS.index(c["seam"])))
            _write(path, found)


def _write(path: Path, found: dict[str, Any]) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(found, indent=1) + "\n")
    part.rename(path)


def _digest(checkpoint: Path) -> str:
    """Of its weights."""
    return hashlib.sha256((checkpoint / "model.safetensors").read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
