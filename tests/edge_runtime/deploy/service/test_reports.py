"""The service's reports: numbered, whole, and a bounded number of them."""

from __future__ import annotations

import json
from pathlib import Path

from edge_runtime.deploy.service.reports import KEPT, Reports
from tests.edge_runtime import sample_record


def test_the_last_ones_are_kept_and_what_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    reports, record = Reports(tmp_path / "reports"), sample_record.record(1.0)
    first = reports.write(record, "healthy")
    assert json.loads((first / "report.json").read_text())["control"]["ticks"] == record.ticks
    assert (first / "report.html").stat().st_size > 1000
    (tmp_path / "reports" / "mine").mkdir()
    for number in range(2, KEPT + 1):
        (tmp_path / "reports" / f"{number:06d}-run").mkdir()
    assert reports.write(record, "run").name == f"{KEPT + 1:06d}-run"
    names = sorted(path.name for path in (tmp_path / "reports").iterdir())
    assert names == [*(f"{number:06d}-run" for number in range(2, KEPT + 2)), "mine"]
