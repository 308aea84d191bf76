"""Footage for a policy: which camera is which, which episodes, and every misfit named before anything moves."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_runtime.bundle_spec import CameraSpec, FlowSpec, Normalisation, PolicySpec, PromptSpec, VectorSpec
from edge_runtime.errors import EdgeError
from edge_runtime.footage import Frames, camera_fields, take_episodes

JOINTS = VectorSpec(("a", "b"), ("", ""), 4)
SPEC = PolicySpec(
    cameras=(CameraSpec("base", 6, 8), CameraSpec("wrist", 6, 8)),
    state=JOINTS,
    action=JOINTS,
    horizon=4,
    dt_s=0.2,
    control_mode="absolute",
    head=FlowSpec(2, 1.0, 0.0, cache=("keys",)),
    prompt=PromptSpec("{instruction}\n", 8, 2, 0),
    state_normalisation=Normalisation("none"),
    action_normalisation=Normalisation("none"),
)


@dataclass
class Recording:
    index: int
    frames: dict[str, Frames]
    where: str = "shard, record 0 at byte 0"
    instruction: str = "go"
    state: NDArray[np.float32] = field(default_factory=lambda: np.ones((3, 2), np.float32))
    action: NDArray[np.float32] = field(default_factory=lambda: np.ones((3, 2), np.float32))


class Footage:
    name = "tiny"
    cameras = ("base", "left", "other")
    rate_hz = None

    def __init__(self, *recordings: Recording) -> None:
        self.recordings = recordings
        self.read = 0

    def episodes(self) -> Iterator[Recording]:
        for recording in self.recordings:
            self.read += 1
            yield recording


def recording(index: int = 0) -> Recording:
    frames: Frames = np.zeros((3, 6, 8, 3), np.uint8)
    return Recording(index, {"base": frames, "left": frames, "other": np.zeros((3, 2, 2, 3), np.uint8)})


FIELDS = {"base": "base", "wrist": "left"}


def test_cameras_by_name_or_as_given() -> None:
    assert camera_fields(SPEC, Footage(), {"wrist": "left"}) == FIELDS
    assert camera_fields(SPEC, Footage(), {"wrist": "base", "base": "left"}) == {"base": "left", "wrist": "base"}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, 'no camera "wrist" for the bundle\'s "wrist": give --map wrist=FIELD; known: base, left, other'),
        ({"wrist": "right"}, 'no camera "right" for the bundle\'s "wrist"'),
        ({"wrst": "left"}, 'the bundle has no camera "wrst", did you mean "wrist"'),
    ],
)
def test_a_camera_that_is_not_there(given: dict[str, str], says: str) -> None:
    with pytest.raises(EdgeError) as caught:
        camera_fields(SPEC, Footage(), given)
    assert says in str(caught.value)


def test_the_wanted_episodes_and_no_further() -> None:
    footage = Footage(*(recording(i) for i in range(5)))
    takes = take_episodes(footage, SPEC, FIELDS, (2, 0))
    assert [t.index for t in takes] == [0, 2]
    assert footage.read == 3
    assert set(takes[0].frames) == {"base", "wrist"}
    assert len(takes[0]) == 3
    assert takes[0].state.dtype == np.dtype(np.float64)
    assert len(take_episodes(footage, SPEC, FIELDS, None)) == 5


def test_every_misfit_is_named() -> None:
    def refused(changed: Recording, fields: dict[str, str] = FIELDS) -> str:
        with pytest.raises(EdgeError) as caught:
            take_episodes(Footage(changed), SPEC, fields, None)
        assert str(caught.value).startswith("shard, record 0 at byte 0: ")
        return str(caught.value)

    wide = np.ones((3, 5), np.float32)
    assert "states of 5 dimensions, the bundle's have 2" in refused(replace(recording(), state=wide))
    assert "actions of 5 dimensions, the bundle's have 2" in refused(replace(recording(), action=wide))
    assert "other is 2x2, wrist of the bundle 8x6: export it with --camera wrist=2x2" in refused(
        recording(), {"base": "base", "wrist": "other"}
    )


@pytest.mark.parametrize(("wanted", "says"), [((0, 7, 9), "tiny: no episode 7, 9"), (None, "tiny: no episodes")])
def test_episodes_that_are_not_there(wanted: tuple[int, ...] | None, says: str) -> None:
    footage = Footage(*([recording()] if wanted else []))
    with pytest.raises(EdgeError, match=says):
        take_episodes(footage, SPEC, FIELDS, wanted)
