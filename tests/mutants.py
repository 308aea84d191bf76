"""Change the safety code in every small way and demand that its tests notice: `python -m tests.mutants`.

Each comparison, sign, operator, constant, logical word and choice of `min` or `max` in the files of `SUBJECTS` is
changed alone, and each statement is left out alone. The tests beside the file then run on the changed module, in a
process of its own that is forked from one where the libraries are loaded. A mutant that no test kills is printed with
its line, and the exit code is 1. `EQUIVALENT` lists the changes that change nothing, each with its reason.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec  # noqa: F401  loaded once, before the forks
import numpy as np  # noqa: F401
import pytest
from hypothesis import Phase, settings

from tests.mutants_equivalent import EQUIVALENT
from tests.mutate import Mutant, mutants

ROOT = Path(__file__).resolve().parents[1]
SUBJECTS = tuple(f"edge_runtime/{name}.py" for name in ("brake", "guard", "tip", "fence", "safety", "silence"))
LIMIT_S = 60
"""A mutant whose tests take more of a processor than this hangs: that is noticing, too. Waiting is given ten times as
much, so that a busy machine notices nothing that is not there."""
PYTEST = ("-x", "-q", "-p", "no:cacheprovider", "-p", "no:benchmark", "-p", "no:xdist", "--hypothesis-profile=mutants")


def main() -> int:
    """Exit code 0: every mutant was killed; 1: some are alive; 2: something has to be mended first."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("files", nargs="*", default=SUBJECTS, help="only these (default: all)")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="default: one a core")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found for programs")
    options = parser.parse_args()
    os.chdir(ROOT)
    settings.register_profile(
        "mutants", derandomize=True, deadline=None, database=None, phases=(Phase.explicit, Phase.generate)
    )
    unknown = [path for path in options.files if path not in SUBJECTS]
    if unknown:
        print(f"mutants: {unknown[0]} is not one of {', '.join(SUBJECTS)}", file=sys.stderr)
        return 2
    total, alive = 0, []
    for path in options.files:
        source = Path(path).read_text(encoding="utf-8")
        if not any(judge(path, [Mutant(0, "", "nothing", source)], 1)):
            print(f"mutants: the tests of {path} fail on it as it is: mend them first", file=sys.stderr)
            return 2
        todo = [mutant for mutant in mutants(source) if (path, mutant.text, mutant.change) not in EQUIVALENT]
        for mutant in judge(path, todo, options.workers):
            print(f"{path}:{mutant.line}: {mutant.change}", flush=True)
            alive.append({"file": path, "line": mutant.line, "text": mutant.text, "change": mutant.change})
        total += len(todo)
    print(f"{total} mutants, {len(alive)} alive")
    if options.json is not None:
        options.json.write_text(json.dumps({"mutants": total, "alive": alive}, indent=2, ensure_ascii=False) + "\n")
    return 1 if alive else 0


def judge(path: str, todo: Sequence[Mutant], workers: int) -> Iterator[Mutant]:
    """The mutants of one file that no test kills, `workers` at a time."""
    running: dict[int, Mutant] = {}
    waiting = list(reversed(todo))
    while waiting or running:
        while waiting and len(running) < workers:
            mutant = waiting.pop()
            running[_start(path, mutant)] = mutant
        child, status = os.wait()
        mutant = running.pop(child)
        if status == 0:
            yield mutant


def _start(path: str, mutant: Mutant) -> int:
    """Test one mutant in a process of its own, which exits with 0 where it lives."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
        signal.alarm(10 * LIMIT_S)
        code = int(not _lives(path, mutant))
    finally:
        os._exit(code)


def _lives(path: str, mutant: Mutant) -> bool:
    """Whether the tests beside the file pass with the mutant in its place."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    name = path.removesuffix(".py").replace("/", ".")
    package, _, last = name.rpartition(".")
    spec = importlib.util.spec_from_loader(name, loader=None)
    assert spec is not None
    changed = importlib.util.module_from_spec(spec)
    sys.modules[name] = changed
    exec(compile(mutant.source, path, "exec"), changed.__dict__)
    setattr(importlib.import_module(package), last, changed)
    return pytest.main([*PYTEST, f"tests/{package.replace('.', '/')}/test_{last}.py"]) == 0


if __name__ == "__main__":
    sys.exit(main())
