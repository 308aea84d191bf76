"""What is asked for: the options, read before anything is looked for or loaded.

`python -m benchmarks.gpu.asked [option ...]` prints nothing where they are right, ends with 2 where one is wrong.
"""

from __future__ import annotations

import argparse
from pathlib import Path

SECTIONS = ("contract", "outputs", "speed")
MODELS = ("pi0", "smolvla", "pi05", "openvla")
MODES = ("max-autotune", "default")
"""Of torch.compile."""


def asked(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options; ends the process with 2 and one line where one is wrong."""
    parser = argparse.ArgumentParser(
        prog="gpu-check",
        usage=argparse.SUPPRESS,  # an error is one line
        description="What this machine's NVIDIA GPU makes of our policies; one JSON, one table.",
    )
    parser.add_argument("--only", choices=SECTIONS, action="append", help="this section; may be given again")
    parser.add_argument("--model", choices=MODELS, action="append", help="time this one; may be given again")
    parser.add_argument(
        "--compile-mode",
        choices=MODES,
        default=MODES[0],
        help="of torch.compile: max-autotune (default), which the goal is about, or default, which is minutes quicker",
    )
    parser.add_argument("--replays", type=int, default=200, metavar="N", help="inferences a figure (default 200)")
    parser.add_argument("--minutes", type=float, metavar="N", help="leave out what would not fit (default: no limit)")
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="work there, not in runs/, and leave the small bundles"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="default benchmarks/results/gpu_<arch>_<name>.json")
    found = parser.parse_args(arguments)
    if found.replays < 1 or (found.minutes is not None and not found.minutes > 0.0):
        parser.error("--replays and --minutes are above zero")
    return found


if __name__ == "__main__":
    asked()
