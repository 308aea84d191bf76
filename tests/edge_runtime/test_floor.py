"""cyclictest's histogram: what it printed is what is reported, and a machine without it says so in one line."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
import pytest

from edge_runtime import floor
from edge_runtime.errors import EdgeError
from edge_runtime.floor import Floor

PRINTED = """\
# /dev/cpu_dma_latency set to 0us
# Histogram
000000 000000
000001 000000
000002 000500
000003 000489
000004 000008
000005 000001
# Total: 000000998
# Min Latencies: 00002
# Avg Latencies: 00002
# Max Latencies: 07593
# Histogram Overflows: 00002
# Histogram Overflow at cycle number:
# Thread 0: 00682 00683

"""


def fake_cyclictest(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    """A program of that name, first on the path, that keeps its arguments in `folder`/arguments."""
    program = folder / "cyclictest"
    program.write_text(f'#!/bin/sh\necho "$@" > {folder}/arguments\n{script}\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder / "arguments"


def test_what_cyclictest_prints_is_read() -> None:
    found = floor.parse(PRINTED)
    assert found.counts.tolist() == [0, 0, 500, 489, 8, 1]
    assert (found.beyond, found.max_us, found.total) == (2, 7593, 1000)
    assert found.quantiles() == {"p50": 3.0, "p99": 4.0, "p99_9": 7593.0, "max": 7593.0}


@pytest.mark.parametrize("seed", range(5))
def test_percentiles_are_numpys_next_higher_sample(seed: int) -> None:
    sample = np.random.default_rng(seed).geometric(0.1, 1237)
    found = Floor(np.bincount(sample), 0, int(sample.max())).quantiles()
    expected = np.percentile(sample, [50, 99, 99.9, 100], method="higher").tolist()
    assert list(found.values()) == expected


def test_two_halves_are_one_floor() -> None:
    both = floor.parse(PRINTED) + Floor(np.array([0, 0, 0, 0, 0, 0, 0, 3]), 1, 9000)
    assert both.counts.tolist() == [0, 0, 500, 489, 8, 1, 0, 3]
    assert (both.beyond, both.max_us) == (3, 9000)


@pytest.mark.parametrize("text", ["", "nothing of the kind", PRINTED.replace("# Max", "# Mix"), "000001 000000\n"])
def test_anything_else_is_one_line(text: str) -> None:
    with pytest.raises(EdgeError, match="no histogram that can be read"):
        floor.parse(text)


def test_period_priority_core_and_length_are_the_loops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = fake_cyclictest(tmp_path, monkeypatch, f"cat <<'E'\n{PRINTED}E")
    assert floor.measure(period_us=5000, priority=50, seconds=2.0, cpu=1).total == 1000
    given = arguments.read_text().split()
    assert {"-i5000", "-p50", "-a1", "-l400", "-t1", "-q"} <= set(given)


def test_a_machine_without_cyclictest_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EdgeError, match="not installed: sudo apt-get install rt-tests"):
        floor.measure(1000, 50, 0.1)


def test_a_refusal_is_passed_on_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cyclictest(tmp_path, monkeypatch, "echo Unable to change\necho scheduling policy! >&2\nexit 1")
    with pytest.raises(EdgeError, match=r"cyclictest failed: scheduling policy!$"):
        floor.measure(1000, 50, 0.1)
