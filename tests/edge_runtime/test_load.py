"""Other work for the machine: one process a core while it is wanted, and none afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge_runtime.errors import EdgeError
from edge_runtime.load import KINDS, load
from tests.imports import ROOT


def workers() -> set[int]:
    """Children of this process."""
    return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


def test_one_process_a_core_works_until_the_block_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    before = workers()
    with load("io"):
        at_work = workers() - before
        assert len(at_work) == len(os.sched_getaffinity(0))
        end_s = time.monotonic() + 20.0
        while not list(tmp_path.glob("edge-load-*/*")) and time.monotonic() < end_s:
            time.sleep(0.02)
        assert list(tmp_path.glob("edge-load-*/*")), "it writes"
    assert workers() == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_worker_ends_with_whoever_started_it(tmp_path: Path, kind: str) -> None:
    """The one in between ends at once, and says the worker's number first."""
    code = (
        "import os, subprocess, sys;"
        "command = [sys.executable, '-m', 'edge_runtime.load', *sys.argv[1:], str(os.getpid())];"
        "print(subprocess.Popen(command, stdout=subprocess.DEVNULL).pid)"
    )
    command = [sys.executable, "-c", code, kind, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, timeout=30)
    worker, end_s = Path(f"/proc/{int(done.stdout)}"), time.monotonic() + 20.0
    while worker.exists() and "Z" not in (worker / "stat").read_text() and time.monotonic() < end_s:
        time.sleep(0.02)
    assert not worker.exists() or ") Z " in (worker / "stat").read_text()


def test_an_unknown_load_is_refused() -> None:
    with pytest.raises(EdgeError, match='there is no load "memroy": there are cpu, memory, io'), load("memroy"):
        pass
