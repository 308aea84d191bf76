"""What the boot tests have in common as programs: options, a place to build in, and what their exit codes mean."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.boot import deb, image
from benchmarks.boot.results import Wrong
from drivers.errors import DriverError
from edge_runtime.errors import EdgeError

DEMO = Path("runs/demo/bundle")

Run = Callable[[Path, argparse.Namespace], int]
"""Builds in a folder, boots, tries; returns the exit code, 1 where a check fails."""


def main(name: str, about: str | None, need: Callable[[], None], run: Run, *, bundle: bool = True) -> int:
    """The exit code: `run`'s; 0 and one loud line where this machine lacks what it takes (`need`), 2 on an error.

    `name`: the file's, in this folder; `bundle`: which one the robot has is an option.
    """
    options = _options(name, about, bundle)
    try:
        need()
        with image.workshop(options.keep) as folder:
            return run(folder, options)
    except image.Skip as reason:
        print(f"SKIPPED: boot test {name}: {reason}", file=sys.stderr)
        return 0
    except (Wrong, EdgeError, DriverError, OSError, deb.Failed) as error:
        print(f"boot test {name}: {error}", file=sys.stderr)
        return 2


def bundle_of(options: argparse.Namespace) -> Path:
    """The bundle that was chosen; the demo's is exported where it is not there yet."""
    from benchmarks.demo.bundle import demo_bundle  # torch, for whoever has none yet

    chosen: Path = options.bundle
    return demo_bundle(chosen) if chosen == DEMO else chosen


def _options(name: str, about: str | None, bundle: bool) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.boot.{name}",
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", metavar="WORDS", default="", help="checks whose name has these words in it")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="build there, and keep the image for another run")
    if bundle:
        parser.add_argument("--bundle", type=Path, metavar="DIR", default=DEMO, help="default %(default)s")
    return parser.parse_args()
