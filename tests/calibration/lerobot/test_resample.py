"""A robot's steps on an even grid: what it saw by then, and what was due then in the chunk that it followed."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from calibration.datasets.recording import Row
from calibration.lerobot.resample import resample, unbroken
from edge_runtime.recording_spec import Description, Vector

MS = 1_000_000
ARM = Description(
    robot="arm",
    cameras=(),
    state=Vector(("a",), ("rad",)),
    action=Vector(("a",), ("rad",)),
    horizon=3,
    dt_s=0.1,
)


def row(number: int, capture_ms: float, ready_ms: float, *actions: float, person: bool = False) -> Row:
    rows = np.array(actions or (0.0, 1.0, 2.0), np.float32).reshape(-1, 1)
    return Row(number, 0, int(ready_ms * MS), int(capture_ms * MS), "", np.zeros(1, np.float32), rows, person)


def test_the_observation_is_the_newest_taken_and_the_action_the_one_due_in_the_chunk_followed() -> None:
    rows = [row(0, 1000, 1050), row(1, 1100, 1150, 10.0, 11.0, 12.0), row(2, 1200, 1250, 20.0, 21.0, 22.0)]
    grid = resample(rows, ARM, 20)  # 1050, 1100, 1150, 1200, 1250 ms
    assert grid.seen.tolist() == [0, 1, 1, 2, 2]
    assert grid.followed.tolist() == [0, 0, 1, 1, 2]
    np.testing.assert_allclose(grid.action[:, 0], [0.5, 1.0, 10.5, 11.0, 20.5], atol=1e-6)


def test_behind_the_last_action_that_one_stands() -> None:
    rows = [row(0, 0, 0), row(1, 900, 900, 5.0)]
    grid = resample(rows, ARM, 10)
    np.testing.assert_allclose(grid.action[:, 0], [0, 1, 2, 2, 2, 2, 2, 2, 2, 5], atol=1e-6)


@pytest.mark.parametrize("change", [{"control_mode": "delta"}, {"pose": True}])
def test_a_delta_or_a_pose_is_nothing_between_two_others(change: dict[str, object]) -> None:
    rows = [row(0, 0, 0, 1.0, 5.0, 9.0), row(1, 200, 200)]
    grid = resample(rows, msgspec.structs.replace(ARM, **change), 20)
    assert grid.action[:, 0].tolist() == [1, 1, 5, 5, 0]


def test_one_step_is_one_frame_and_the_grid_is_even_at_any_rate() -> None:
    assert len(resample([row(0, 5, 7)], ARM, 30).seen) == 1
    rows = [row(n, 33 * n, 33 * n) for n in range(31)]
    assert len(resample(rows, ARM, 30).seen) == 30  # 0.99 s: 29 whole periods and the first
    assert len(resample(rows, ARM, 7).seen) == 7


@pytest.mark.parametrize(
    "rows",
    [
        [row(0, 0, 50), row(1, 10, 40)],
        [row(0, 20, 50), row(1, 10, 60)],
        [row(0, 60, 50)],
    ],
    ids=["answers", "frames", "an answer before its frame"],
)
def test_times_that_go_backwards_are_refused(rows: list[Row]) -> None:
    with pytest.raises(ValueError, match="its times go backwards"):
        resample(rows, ARM, 10)


def test_more_frames_than_can_be_are_refused_before_they_are_made() -> None:
    with pytest.raises(ValueError, match="10000000 are possible"):
        resample([row(0, 0, 0), row(1, 10**12, 10**12)], ARM, 1000)


def test_a_pause_ends_an_episode() -> None:
    rows = [row(0, 0, 0), row(1, 1200, 1200), row(2, 2600, 2600), row(3, 2700, 2700)]
    parts = [[one.record for one in part] for part in unbroken(rows, 0.3)]
    assert parts == [[0, 1], [2, 3]]  # 1.2 s is what a chunk of 0.3 s and a stop may take, 1.4 s is more
