"""The simulated arm and the program that drives it, as users start them: each a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

from drivers.sim.process import SimProcess
from tests.edge_runtime.engines.fakes import machine
from tests.edge_runtime.process import Process

__all__ = ["machine"]


@pytest.fixture
def sim(tmp_path: Path) -> Iterator[SimProcess]:
    """The simulator, with its robot.toml in its folder."""
    (tmp_path / "robot.toml").write_text(resources.files("drivers.sim").joinpath("robot.toml").read_text())
    with SimProcess(tmp_path, seed=3) as made:
        yield made


@pytest.fixture
def robot(sim: SimProcess) -> Iterator[Process]:
    """`edge run` of that robot.toml."""
    made = Process(sim.directory)
    yield made
    made.kill()
