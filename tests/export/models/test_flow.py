"""Flow time: the times that each reference visits, and how precisely a model is told them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from export.models.flow import flow_constants, flow_times, time_embedding


def test_a_fraction_is_rounded_to_float32_once() -> None:
    got = flow_times(10, "fraction")
    assert got.dtype == torch.float64
    assert got.tolist() == [float(np.float32(1.0 + k * (-1.0 / 10))) for k in range(10)]


def test_accumulated_times_carry_the_error_of_every_step() -> None:
    time, wanted = np.float32(1.0), []
    while time >= np.float32(0.1) / 2:
        wanted.append(float(time))
        time = time + np.float32(-0.1)
    got = flow_times(10, "accumulated")
    assert got.tolist() == wanted
    assert 1e-8 < (got - flow_times(10, "fraction")).abs().max() < 1e-6


@pytest.mark.parametrize("how", ["fraction", "accumulated"])
@pytest.mark.parametrize("steps", [1, 2, 7, 64])
def test_times_run_down_from_one_in_equal_steps(steps: int, how: str) -> None:
    got = flow_times(steps, how)  # type: ignore[arg-type]
    assert got.shape == (steps,)
    torch.testing.assert_close(got, 1.0 - torch.arange(steps, dtype=torch.float64) / steps, rtol=0, atol=1e-5)


def test_time_is_embedded_in_float64() -> None:
    t = torch.tensor([1.0, 0.9, 0.1])
    got = time_embedding(t, 16, 4e-3, 4.0)
    periods = [4e-3 * 1000 ** (i / 7) for i in range(8)]
    angles = torch.tensor([[2 * math.pi * float(x) / p for p in periods] for x in t], dtype=torch.float64)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, torch.cat([angles.sin(), angles.cos()], 1).float(), rtol=0, atol=1e-7)


def test_constants_are_there_for_every_count() -> None:
    table = flow_constants(lambda t: torch.stack([t, -t], 1).float(), 3, "fraction")
    assert list(table) == ["cond.1", "cond.2", "cond.3"]
    torch.testing.assert_close(table["cond.2"], torch.tensor([[1.0, -1.0], [0.5, -0.5]]))
