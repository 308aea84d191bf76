"""The seams' benchmark in small: an arm that is driven as the runtime drives it, and figures that say what happened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import numpy as np
import pytest

from benchmarks.demo.evaluate import CHECKPOINT, SEEDS_FROM
from benchmarks.seams import __main__ as seams
from benchmarks.seams import cells, episode, show
from benchmarks.seams.episode import Drive, Outcome
from benchmarks.seams.seam import Jump
from edge_runtime import config
from edge_runtime.config import Motion
from edge_runtime.policies.base import Observation, Prompt
from export import layouts
from export.layouts.options import Options

SPEC = layouts.read(CHECKPOINT, Options()).spec


class Wavering:
    """A policy that turns the pan evenly, from 0.1 rad beside where it is, now on this side and then on the other."""

    spec = SPEC

    def __init__(self) -> None:
        self.frames = {c.name: np.zeros((c.height, c.width, 3), np.uint8) for c in SPEC.cameras}
        self.aheads: list[Any] = []
        self._side = 0.1

    def prompt(self, instruction: str) -> Prompt:
        return Prompt(instruction, np.zeros(1, np.int64), np.ones(1, np.bool_))

    def infer(self, observation: Observation, chunk_out: Any, noise: Any) -> None:
        self.aheads.append(observation.ahead and observation.ahead.committed)
        chunk_out[:] = observation.state
        chunk_out[:, 0] += self._side + 0.02 * np.arange(len(chunk_out))
        self._side = -self._side


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(episode, "LIMIT_S", 1.5)


def drive(seam: Any, delay_ms: int, policy: Wavering | None = None) -> Outcome:
    robot = msgspec.structs.replace(config.load(cells.ROBOT, calibrated=False), motion=Motion(seam=seam))
    return Drive(robot, policy or Wavering(), SEEDS_FROM, delay_ms * 1_000_000).run()  # type: ignore[arg-type]


def test_a_chunk_takes_over_when_the_delay_is_over_and_the_next_is_asked_for_then() -> None:
    assert len(drive("none", 300).jumps) == 3  # there at 0.3, 0.6, 0.9 and 1.2 s, and the first one takes over nothing
    assert len(drive("none", 100).jumps) == 13
    assert len(drive("none", 0).jumps) == 37  # as often as there are frames, one each 40 ms


def test_the_same_episode_goes_the_same_way() -> None:
    once, again = drive("blend", 200), drive("blend", 200)
    assert once.jumps == again.jumps
    assert np.array_equal(once.jerk_rad_s3, again.jerk_rad_s3)


def test_without_a_seam_the_plans_jump_is_the_references() -> None:
    jumps = drive("none", 200).jumps
    assert all(j.reference == j.plan for j in jumps)
    assert max(j.plan[0] for j in jumps) > 0.1


def test_a_blend_takes_the_jump_out_and_the_limiter_has_less_to_do() -> None:
    raw, blended = drive("none", 200), drive("blend", 200)
    assert max(j.reference[0] for j in blended.jumps) < 0.5 * max(j.reference[0] for j in raw.jumps)
    assert np.square(blended.jerk_rad_s3).mean() < 0.5 * np.square(raw.jerk_rad_s3).mean()


def test_committed_rows_are_those_that_the_delay_uses_up() -> None:
    policy = Wavering()
    drive("committed", 250, policy)
    assert policy.aheads[0] is None
    assert policy.aheads[-1] == 4  # due at 0, 0.1 and 0.2 s, sent by 0.25 s, and the one behind them
    policy = Wavering()
    drive("blend", 250, policy)
    assert not any(policy.aheads)


def figures(seam: Any, delay_ms: int) -> dict[str, Any]:
    good = Outcome(1.0, 2.0, [Jump((0.1, 1.0), (0.01, 0.1), (0.001, 0.01))], [np.full(6, -30.0), np.full(6, 40.0)])
    return cells.figures(cells.Cell(Path("unused"), seam, delay_ms), [good, good, Outcome()])


def test_figures_say_what_happened() -> None:
    found = figures("blend", 100)
    assert (found["episodes"], found["successes"], found["succeeded"]) == (3, 2, "110")
    assert (found["grasp_s"], found["takeovers"]) == (1.0, 2)
    assert found["jump"]["plan"]["rad_s"]["p95"] == 1.0
    assert found["jump"]["reference"]["rad"]["max"] == 0.01
    assert found["jerk_rad_s3"]["rms"] == pytest.approx(np.sqrt((30**2 + 40**2) / 2))
    assert found["jerk_rad_s3"]["peak"]["p50"] == 40.0


def test_cells_that_never_moved_have_a_line_too() -> None:
    nothing = cells.figures(cells.Cell(Path("unused"), "guided", 0), [Outcome()])
    assert "guided" in show.table([nothing])
    ElementTree.fromstring(show.plot([nothing]))


def test_finished_cells_are_shown_and_not_driven_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept, drawn = tmp_path / "seams.json", tmp_path / "seams.svg"
    made = {"checkpoint": seams._digest(CHECKPOINT), "episodes": 3}
    kept.write_text(json.dumps({**made, "cells": [figures("none", 0), figures("none", 300)]}))
    asked = ["--episodes", "3", "--seam", "none", "--delay", "0", "--delay", "300", "--json", str(kept)]
    assert seams.main([*asked, "--plot", str(drawn)]) == 0
    assert "20.8% –  93.9%" in capsys.readouterr().out
    panels = ElementTree.parse(drawn).getroot()
    assert len(panels.findall(".//{*}path[@class='trace none']")) == len(show.PANELS)


def test_cells_of_another_checkpoint_or_length_do_not_count(tmp_path: Path) -> None:
    kept = tmp_path / "seams.json"
    kept.write_text(json.dumps({"checkpoint": seams._digest(CHECKPOINT), "episodes": 3, "cells": [1]}))
    assert seams._begun(kept, CHECKPOINT, 3)["cells"] == [1]
    assert seams._begun(kept, CHECKPOINT, 4)["cells"] == []
    kept.write_text(json.dumps({"checkpoint": "another", "episodes": 3, "cells": [1]}))
    assert seams._begun(kept, CHECKPOINT, 3)["cells"] == []
