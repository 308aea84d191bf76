"""`make gpu-check`: what this machine's NVIDIA GPU makes of our policies; one JSON, one table.

    python -m benchmarks.gpu [--only contract|outputs|speed] [--model NAME] [--minutes N] [--keep DIR] [--json FILE]

Without a GPU it says so and ends with 0, before it loads anything.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.gpu.found import Found, look

SECTIONS = ("contract", "outputs", "speed")
MODELS = ("pi0", "smolvla", "pi05", "openvla")


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0: what ran held; 1: a contract, an answer or an agreement did not; 2: something has to be mended."""
    asked = _options(arguments)
    gpu = look()
    if isinstance(gpu, str):
        print(f"gpu-check: skipped: {gpu}")
        return 0
    try:
        from edge_runtime.errors import EdgeError
    except ImportError as error:
        return _needs(error)
    try:
        return checked(asked, gpu)
    except (EdgeError, OSError) as error:  # the latter of a full disk
        print(f"gpu-check: {error}", file=sys.stderr)
        return 2
    except ImportError as error:
        return _needs(error)


def checked(asked: argparse.Namespace, gpu: Found) -> int:
    """Do what is asked on `gpu`; cheap sections first, the result file written after each part."""
    from benchmarks.gpu import backends, contract, machine, outputs
    from benchmarks.gpu.budget import Budget
    from benchmarks.gpu.models import MODELS as KNOWN
    from benchmarks.gpu.report import Report, default_path, failed
    from benchmarks.gpu.speed import Speed
    from benchmarks.gpu.table import table

    budget, sections = Budget(asked.minutes), asked.only or SECTIONS
    here = machine.describe(gpu)
    report = Report(asked.json or default_path(here), here)
    report.put("backends", backends.section(budget))
    running = [name for name, one in report.result["backends"].items() if one["ran"]]
    for section in SECTIONS:
        if section not in sections:
            report.left_out(section, f"not asked for: --only {' --only '.join(sections)}")
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as folder:
        work = (asked.keep or Path(folder)).absolute()
        if "contract" in sections:
            _say("contract")
            report.put("contract", contract.section(running, budget))
        if "outputs" in sections:
            report.put("outputs", outputs.section(running, work / "outputs", budget, _say))
        if "speed" in sections:
            speed = Speed(running, here["device"], asked.replays, work / "speed", budget, report.row, _say)
            for name in asked.model or KNOWN:
                for cameras in KNOWN[name].cameras:
                    report.row(speed.row(name, cameras))
    print(table(report.result))
    print(report.path)
    return 1 if failed(report.result) else 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", choices=SECTIONS, action="append", help="this section; may be given again")
    parser.add_argument("--model", choices=MODELS, action="append", help="time this one; may be given again")
    parser.add_argument("--replays", type=int, default=200, metavar="N", help="inferences a figure (default 200)")
    parser.add_argument("--minutes", type=float, metavar="N", help="leave out what would not fit (default: no limit)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="work there and leave the small bundles")
    parser.add_argument("--json", type=Path, metavar="FILE", help="default benchmarks/results/gpu_<arch>_<name>.json")
    asked = parser.parse_args(arguments)
    if asked.replays < 1 or (asked.minutes is not None and not asked.minutes > 0.0):
        parser.error("--replays and --minutes are above zero")
    return asked


def _needs(error: ImportError) -> int:
    print(f"gpu-check: {error}: pip install -e '.[export,cuda,test]' in the checkout", file=sys.stderr)
    return 2


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
