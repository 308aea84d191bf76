"""Temporal ensembling: the mean of all chunks of a request that speak of a moment, the oldest counting most."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edge_runtime.chunk import Chunk
from edge_runtime.ensemble import Ensemble, M
from tests.edge_runtime.motion import MS, T0

DT = 50 * MS


def said(value: float, start_ns: int, request: int = 1, rows: int = 6) -> Chunk:
    made = Chunk(rows, 2, DT)
    made.actions[:] = value
    made.start_ns, made.request = start_ns, request
    return made


def test_the_first_chunk_of_a_request_is_what_it_says() -> None:
    ensemble = Ensemble(6, 2, DT)
    for request in (1, 2):
        chunk = said(float(request), T0, request)
        ensemble.add(chunk)
        assert (chunk.actions == request).all()


def test_of_a_moment_the_weighted_mean_counts_and_of_the_rest_the_newest() -> None:
    ensemble = Ensemble(6, 2, DT)
    values = (1.0, 4.0, 10.0)
    for n, value in enumerate(values):
        chunk = said(value, T0 + n * DT)
        ensemble.add(chunk)
    weights = [math.exp(-M * i) for i in range(3)]
    all_three = sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)
    last_two = (weights[0] * 4.0 + weights[1] * 10.0) / (weights[0] + weights[1])
    assert chunk.actions[:4] == pytest.approx(all_three)
    assert chunk.actions[4] == pytest.approx(last_two)
    assert chunk.actions[5] == pytest.approx(10.0)


def test_chunks_that_begin_between_each_others_actions_meet_on_the_curve() -> None:
    ensemble = Ensemble(6, 2, DT)
    even = said(0.0, T0)
    even.actions[:] = np.arange(6.0)[:, None]
    ensemble.add(even)
    late = said(0.0, T0 + DT // 2)
    late.actions[:] = np.arange(6.0)[:, None] + 0.5
    ensemble.add(late)
    np.testing.assert_allclose(late.actions, np.arange(6.0)[:, None] + [0.5, 0.5], atol=1e-9)


def test_a_chunk_that_came_too_late_to_overlap_is_what_it_says() -> None:
    ensemble = Ensemble(6, 2, DT)
    ensemble.add(said(1.0, T0))
    chunk = said(2.0, T0 + 6 * DT)
    ensemble.add(chunk)
    assert (chunk.actions == 2.0).all()


def test_of_a_stepwise_joint_the_newest_chunk_decides() -> None:
    ensemble = Ensemble(6, 2, DT, stepwise=np.array([False, True]))
    ensemble.add(said(0.0, T0))
    chunk = said(1.0, T0)
    ensemble.add(chunk)
    assert chunk.actions[:, 0] == pytest.approx(0.5, abs=0.01)
    assert (chunk.actions[:, 1] == 1.0).all()
