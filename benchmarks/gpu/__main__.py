"""`make gpu-check`: what this machine's NVIDIA GPU makes of our policies; one JSON, one table.

    python -m benchmarks.gpu [option ...]        --help names them

Without a GPU it says so and ends with 0, before it loads anything.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.gpu.asked import SECTIONS, asked
from benchmarks.gpu.found import Found, look

RUNS = Path(__file__).resolve().parents[2] / "runs"
"""Where other runs of this checkout are: /tmp is memory on many machines, and a bundle of full size is many GB."""


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0: what ran held; 1: a contract, an answer or an agreement did not; 2: something has to be mended."""
    wanted = asked(arguments)
    gpu = look()
    if isinstance(gpu, str):
        print(f"gpu-check: skipped: {gpu}")
        return 0
    try:
        from edge_runtime.errors import EdgeError
    except ImportError as error:
        return _needs(error)
    try:
        return checked(wanted, gpu)
    except (EdgeError, OSError) as error:  # the latter of a full disk
        print(f"gpu-check: {error}", file=sys.stderr)
        return 2
    except ImportError as error:
        return _needs(error)


def checked(wanted: argparse.Namespace, gpu: Found) -> int:
    """Do what is wanted on `gpu`; cheap sections first, the result file written after each part."""
    from benchmarks.gpu import backends, contract, machine, outputs
    from benchmarks.gpu.budget import Budget
    from benchmarks.gpu.models import MODELS as KNOWN
    from benchmarks.gpu.report import Report, default_path, failed
    from benchmarks.gpu.speed import Speed
    from benchmarks.gpu.table import table

    budget, sections = Budget(wanted.minutes), wanted.only or SECTIONS
    here = machine.describe(gpu)
    report = Report(wanted.json or default_path(here), here, _say)
    report.put("backends", backends.section(budget))
    running = [name for name, one in report.result["backends"].items() if one["ran"]]
    for section in SECTIONS:
        if section not in sections:
            report.left_out(section, f"not asked for: --only {' --only '.join(sections)}")
    with _folder(wanted.keep) as work:
        if "contract" in sections:
            _say("contract")
            report.put("contract", contract.section(running, budget))
        if "outputs" in sections:
            report.put("outputs", outputs.section(running, work / "outputs", budget, _say))
        if "speed" in sections:
            given = (running, here["device"], wanted.replays, wanted.compile_mode, work / "speed")
            speed = Speed(*given, budget, report.row, _say)
            for name in wanted.model or KNOWN:
                for cameras in KNOWN[name].cameras:
                    report.row(speed.row(name, cameras))
    print(table(report.result))
    print(report.path)
    return 1 if failed(report.result) else 0


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    """Where the check works: `keep`, or a folder of its own, gone at the end."""
    if keep is not None:
        yield keep.absolute()
        return
    RUNS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="gpu-check-", dir=RUNS) as folder:
        yield Path(folder)


def _needs(error: ImportError) -> int:
    print(f"gpu-check: {error}: nothing can be checked without it", file=sys.stderr)
    return 2


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
