"""The budget table: multiples of a yardstick, and nothing that is measured goes unheld."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import bench, budgets
from edge_runtime.errors import EdgeError
from edge_runtime.floor import Floor
from edge_runtime.report import summary
from tests.edge_runtime.sample_record import record

FLAT = {"p50": 1.0, "p99": 1.0, "p99_9": 1.0, "max": 1.0}
LIMITS = {"p50": 2.0, "p99": 4.0, "p99_9": 8.0, "max": 16.0}


def times(factor: float) -> dict[str, float]:
    return {name: value * factor for name, value in FLAT.items()}


def test_a_stage_is_a_multiple_of_its_yardsticks_median() -> None:
    timings = {"yardstick.python": {"p50": 0.5, "p99": 9.0, "p99_9": 9.0, "max": 9.0}, "a": times(1.5)}
    (row,) = budgets.judge(timings, {"a": {"of": "yardstick.python", **LIMITS}})
    assert row.measured == times(3.0)
    assert row.over == ("p50",)


def test_lateness_is_held_percentile_by_percentile_to_its_floor() -> None:
    floor = {"p50": 10.0, "p99": 20.0, "p99_9": 100.0, "max": 1000.0}
    late = {"p50": 19.0, "p99": 80.0, "p99_9": 900.0, "max": 16_000.0}
    (row,) = budgets.judge(
        {"floor.cyclictest": floor, "loop.lateness": late}, {"loop.lateness": {"of": "floor.cyclictest", **LIMITS}}
    )
    assert row.measured == {"p50": 1.9, "p99": 4.0, "p99_9": 9.0, "max": 16.0}
    assert row.over == ("p99_9",)


@pytest.mark.parametrize(
    ("timings", "rows", "says"),
    [
        ({"y": FLAT, "a": FLAT}, {}, "stage y has no row"),
        ({"y": FLAT, "a": FLAT, "b": FLAT}, {"a": {"of": "y", **LIMITS}}, "stage b has no row"),
        ({"a": FLAT}, {"a": {"of": "y", **LIMITS}}, "a is a multiple of y, which was not timed"),
        ({"y": FLAT}, {"a": {"of": "y", **LIMITS}}, "a has a row and was not timed"),
    ],
)
def test_what_is_not_held_fails(
    timings: dict[str, dict[str, float]], rows: dict[str, dict[str, object]], says: str
) -> None:
    with pytest.raises(EdgeError, match=says):
        list(budgets.judge(timings, rows))


def test_a_machine_without_cyclictest_is_judged_without_it() -> None:
    rows = {"a": {"of": "y", **LIMITS}, "loop.lateness": {"of": "floor.cyclictest", **LIMITS}}
    assert [row.stage for row in budgets.judge({"y": FLAT, "a": FLAT}, rows)] == ["a"]


def test_percentiles_are_measured_values() -> None:
    assert budgets.figures([3.0, 1.0, 2.0, 9.0]) == {"p50": 3.0, "p99": 9.0, "p99_9": 9.0, "max": 9.0}


def test_a_row_without_a_figure_is_one_line(tmp_path: Path) -> None:
    table = tmp_path / "budgets.toml"
    table.write_text('[toaster."a"]\nof = "y"\np50 = 1\np99 = 2\nmax = 3\n')
    with pytest.raises(EdgeError, match=r"toaster\.a: p99_9 is missing"):
        budgets.load("toaster", table)
    with pytest.raises(EdgeError, match="no budgets for kettle"):
        budgets.load("kettle", table)


def test_the_table_in_this_checkout_is_whole() -> None:
    rows = budgets.load("cpu-x86_64")
    assert "loop.lateness" in rows
    for stage, row in rows.items():
        limits = [row[name] for name in budgets.PERCENTILES]
        assert limits == sorted(limits), stage


def test_every_stage_of_the_loop_has_a_row() -> None:
    found = bench.loop(summary(record(), Floor(np.array([0, 90, 10]), 0, 7)))
    assert {"loop.lateness", "loop.jitter", "loop.sent", "loop.cpu", "loop.serial", "loop.inference"} < set(found)
    rows = budgets.load("cpu-x86_64")
    assert set(found) - set(rows) <= {row["of"] for row in rows.values()}
    assert found["loop.cpu"]["p50"] == pytest.approx(140e-6)


def test_without_cyclictest_the_rest_of_the_loop_is_held_all_the_same() -> None:
    found = bench.loop(summary(record()))
    assert "loop.lateness" not in found
    assert "loop.cpu" in found


def test_a_loop_that_did_no_task_fails() -> None:
    run = record()
    run.sensor_age_ns[:] = -1
    with pytest.raises(EdgeError, match="followed no chunk"):
        bench.loop(summary(run))
