"""Work in a process of its own: what crashes, hangs or fills the GPU there ends there, and its memory is its alone.

The process is told a function `module:name` and its arguments as JSON, and answers with a file of JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_runtime.errors import EdgeError, one_line

ROOT = Path(__file__).resolve().parents[2]


class Failed(EdgeError):
    """A process that gave no answer: what it said last, or how it ended."""


def run(function: Callable[..., Any], *arguments: Any, limit_s: float) -> Any:
    """What `function`, of a module of this package, returns for `arguments`; both can be told in JSON.

    Raises `Failed`, one line, where it raised, was killed by a signal or took more than `limit_s` seconds: then all
    that it started is killed too.
    """
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as folder:
        answer, log = Path(folder) / "answer.json", Path(folder) / "log"
        told = json.dumps([f"{function.__module__}:{function.__name__}", arguments, str(answer)])
        with log.open("wb") as said:
            process = subprocess.Popen(
                [sys.executable, "-m", __name__, told], cwd=ROOT, stdout=said, stderr=said, start_new_session=True
            )
            try:
                process.wait(limit_s)
            except subprocess.TimeoutExpired:
                raise Failed(f"not done in {limit_s:.0f} s") from None
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        if answer.is_file():
            found = json.loads(answer.read_text())
            if "failed" in found:
                raise Failed(found["failed"])
            return found["answer"]
        raise Failed(_ended(process.returncode, log.read_text(errors="replace")))


def _ended(code: int, said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return one_line(f"{how}: {lines[-1]}") if lines else how


def main(told: str) -> None:
    """Call what is told and write its answer; an error of any kind is an answer too."""
    name, arguments, file = json.loads(told)
    module, _, function = name.partition(":")
    try:
        found: dict[str, Any] = {"answer": getattr(importlib.import_module(module), function)(*arguments)}
    except EdgeError as error:
        found = {"failed": str(error)}
    except Exception as error:  # noqa: BLE001 whatever a library raises is why this could not be done
        found = {"failed": one_line(f"{type(error).__name__}: {error}")}
    Path(file).write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
