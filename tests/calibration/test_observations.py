"""Samples for calibration: which field is which, which steps are taken, what is held out, what is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from calibration.datasets.base import Damage, Dataset, DatasetError, Episode, Frame, Frames, refuse
from calibration.observations import MappingError, Sample, Samples, fields, samples
from edge_runtime.bundle_spec import CameraSpec, FlowSpec, Normalisation, PolicySpec, PromptSpec, VectorSpec
from edge_runtime.errors import EdgeError

HEIGHT, WIDTH = 6, 8


def vector(dims: int) -> VectorSpec:
    return VectorSpec(tuple("abcdefgh"[:dims]), ("",) * dims, 8)


SPEC = PolicySpec(
    cameras=(CameraSpec("base", HEIGHT, WIDTH), CameraSpec("wrist", HEIGHT, WIDTH, missing="refuse")),
    state=vector(3),
    action=vector(2),
    horizon=4,
    dt_s=0.2,
    control_mode="absolute",
    head=FlowSpec(2, 1.0, 0.0, cache=("keys",)),
    prompt=PromptSpec("{instruction}\n", 8, 2, 0),
    state_normalisation=Normalisation("none"),
    action_normalisation=Normalisation("none"),
)


@dataclass
class Pictures(Frames):
    """Pictures whose corner says episode and step; those in `broken` do not decode."""

    episode: int
    steps: int
    size: tuple[int, int] = (HEIGHT, WIDTH)
    broken: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int, /) -> Frame:
        if step in self.broken:
            raise DatasetError(f"record {self.episode}, step {step}: does not decode")
        picture = np.full((*self.size, 3), 7, np.uint8)
        picture[0, 0] = self.episode, step, 255
        return picture


def episode(index: int, steps: int = 8, **changed: Any) -> Episode:
    """state[t] = [index, t, 1], action[t] = [t, -index], cameras base and wrist, a vector of 5."""
    t = np.arange(steps, dtype=np.float32)
    state = np.stack([np.full(steps, index), t, np.ones(steps)], axis=1).astype(np.float32)
    made = Episode(
        index=index,
        where=f"record {index}",
        instruction=f"task {index % 3}",
        state=state,
        action=np.stack([t, np.full(steps, -index)], axis=1).astype(np.float32),
        frames={camera: Pictures(index, steps) for camera in ("base", "wrist")},
        vectors={"state": state, "wide": np.hstack([state, -state[:, :2]])},
    )
    return replace(made, **changed)


class Made(Dataset):
    """The episodes given; an error among them is damage."""

    name = "made"
    rate_hz = None
    vectors = ("state", "wide")

    def __init__(self, made: Sequence[Episode | DatasetError], cameras: Sequence[str] = ("base", "wrist")) -> None:
        self.made = made
        self.cameras = tuple(cameras)

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return False

    def __len__(self) -> int:
        return len(self.made)

    def episodes(self, damage: Damage = refuse) -> Iterator[Episode]:
        for one in self.made:
            if isinstance(one, Episode):
                yield one
            else:
                damage(one)


def take(dataset: Dataset, mapping: Mapping[str, str] | None = None, spec: PolicySpec = SPEC, **asked: Any) -> Samples:
    return samples(dataset, spec, mapping or {}, **{"count": 16, "seed": 0, **asked})


def place(sample: Sample) -> tuple[int, int]:
    """(episode, step) by what it says of its place."""
    record, step = sample.where.removeprefix("record ").split(", step ")
    return int(record), int(step)


def spec(**changed: Any) -> PolicySpec:
    return msgspec.structs.replace(SPEC, **changed)


TEN = Made([episode(i) for i in range(10)])


def refused(dataset: Dataset, mapping: Mapping[str, str] | None = None, spec: PolicySpec = SPEC, **asked: Any) -> str:
    with pytest.raises(EdgeError) as caught:
        take(dataset, mapping, spec, **asked)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_sample_is_its_step() -> None:
    found = take(TEN)
    assert (len(found.calibration), len(found.held_out), found.episodes, found.corrupt) == (16, 8, 10, ())
    for sample in (*found.calibration, *found.held_out):
        index, step = place(sample)
        assert sample.instruction == f"task {index % 3}"
        assert set(sample.frames) == {"base", "wrist"}
        assert sample.frames["wrist"][0, 0].tolist() == [index, step, 255]
        assert sample.state.tolist() == [index, step, 1]
    assert found.remarks == ()


@pytest.mark.parametrize(
    ("count", "asked", "held_out"), [(4, None, 8), (32, None, 8), (33, None, 9), (1000, None, 16), (4, 3, 3)]
)
def test_a_quarter_is_held_out_and_eight_at_least(count: int, asked: int | None, held_out: int) -> None:
    """As far as two of the ten episodes, of eight steps each, have them."""
    assert len(take(TEN, count=count, held_out=asked).held_out) == held_out


def test_how_many_calibrate_does_not_change_which_are_held_out() -> None:
    first, second = (take(TEN, count=count, held_out=6, seed=3) for count in (6, 24))
    assert [s.where for s in first.held_out] == [s.where for s in second.held_out]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [1, 7, 16, 40, 1000])
def test_no_episode_is_in_both_sets(seed: int, count: int) -> None:
    found = take(TEN, seed=seed, count=count)
    shown, held_out = ({place(s)[0] for s in part} for part in (found.calibration, found.held_out))
    assert shown
    assert held_out
    assert not shown & held_out
    steps = [place(s) for s in (*found.calibration, *found.held_out)]
    assert len(set(steps)) == len(steps)


def test_samples_are_spread_over_episodes_and_steps() -> None:
    """Eight episodes remain beside those held out; each gives two or three samples, from both halves of it."""
    found = take(Made([episode(i, steps=20) for i in range(10)]), count=20)
    counts = Counter(place(s)[0] for s in found.calibration)
    assert len(counts) == 8
    assert set(counts.values()) == {2, 3}
    for index in counts:
        steps = [step for episode, step in map(place, found.calibration) if episode == index]
        assert min(steps) < 10 <= max(steps)


def test_short_episodes_give_what_they_have() -> None:
    found = take(Made([episode(i, steps=1 if i % 2 else 50) for i in range(8)]), count=60)
    assert len(found.calibration) == 60
    assert all(count == 1 for index, count in Counter(place(s)[0] for s in found.calibration).items() if index % 2)


def test_the_seed_says_which() -> None:
    assert take(TEN).sha256 == take(TEN).sha256
    assert take(TEN).sha256 != take(TEN, seed=1).sha256
    steps = [[s.where for s in take(TEN, seed=seed).calibration] for seed in (0, 0, 1)]
    assert steps[0] == steps[1] != steps[2]


@pytest.mark.parametrize("what", ["frame", "state", "instruction"])
def test_the_hash_is_of_what_is_shown(what: str) -> None:
    """And of nothing else."""
    changes: dict[str, dict[str, Any]] = {
        "frame": {"frames": {"base": Pictures(0, 8), "wrist": Pictures(99, 8)}},
        "state": {"state": episode(0).state + np.float32(1e-3)},
        "instruction": {"instruction": "another"},
    }
    everything = take(TEN, count=1000)
    changed = Made([episode(0, **changes[what]), *TEN.made[1:]])
    assert take(changed, count=1000).sha256 != everything.sha256
    moved = Made([episode(0, where="elsewhere", action=episode(0).action + 1), *TEN.made[1:]])
    assert take(moved, count=1000).sha256 == everything.sha256


def test_frames_are_resized_to_the_policys() -> None:
    large = {"base": Pictures(1, 8, (12, 16)), "wrist": Pictures(1, 8)}
    found = take(Made([episode(i, frames=large) for i in range(4)]), count=100)
    for sample in found.calibration:
        assert sample.frames["base"].shape == sample.frames["wrist"].shape == (HEIGHT, WIDTH, 3)
        mean = np.array([1 + 3 * 7, place(sample)[1] + 3 * 7, 255 + 3 * 7]) / 4
        assert np.abs(sample.frames["base"][0, 0] - mean).max() <= 0.5, "the mean of 2×2 pixels"
    assert found.remarks == ("camera base: frames of 12×16 are resized to 6×8 for calibration",)


def test_frames_of_several_sizes_are_one_remark() -> None:
    sizes = ((12, 16), (HEIGHT, WIDTH), (3, 4))
    made = [
        episode(i, frames={"base": Pictures(i, 8, sizes[i % 3]), "wrist": Pictures(i, 8, (5, 5))}) for i in range(9)
    ]
    base, wrist = take(Made(made), count=100).remarks
    assert base in (
        f"camera base: frames of {first} and {second} are resized to 6×8 for calibration"
        for first, second in (("12×16", "3×4"), ("3×4", "12×16"))
    )
    assert wrist == "camera wrist: frames of 5×5 are resized to 6×8 for calibration"


def test_actions_of_other_dimensions_are_a_remark() -> None:
    found = take(TEN, spec=spec(action=vector(3)))
    assert found.remarks == ("actions have 2 dimensions and the policy's 3; only observations are used",)
    assert found.sha256 == take(TEN).sha256


def test_cameras_by_name_or_mapped() -> None:
    found = Made(TEN.made, ["observation.images.base", "left", "observation.images.right"])
    used = fields(found, SPEC, {"wrist": "right"})
    assert used.cameras == {"base": "observation.images.base", "wrist": "observation.images.right"}
    assert fields(found, SPEC, {"wrist": "left", "base": "left"}).cameras == {"base": "left", "wrist": "left"}


def test_a_camera_is_left_out_where_the_policy_can_do_without() -> None:
    found = take(Made(TEN.made, ["wrist"]), {"base": ""})
    assert set(found.calibration[0].frames) == {"wrist"}


@pytest.mark.parametrize(
    ("mapping", "says"),
    [
        ({}, 'made: no camera "wrist", for the policy\'s "wrist": map wrist=FIELD; known: a.base, b.base, c.left'),
        ({"wrist": "left"}, 'made: 2 cameras are called "base", for the policy\'s "base": map base=FIELD (or base= to'),
        ({"wrist": "left", "base": "right"}, 'made: no camera "right", for the policy\'s "base"'),
        ({"wrist": ""}, "map wrist=: the policy cannot do without this camera"),
        ({"wrst": "left"}, 'map wrst=left: the policy has no "wrst"; known: wrist, base, state'),
        ({"wrist": "left", "base": "a.base", "state": "speed"}, 'made: no vector "speed" for the policy\'s state'),
    ],
)
def test_mappings_that_do_not_fit(mapping: dict[str, str], says: str) -> None:
    found = Made(TEN.made, ["a.base", "b.base", "c.left"])
    with pytest.raises(MappingError) as caught:
        fields(found, spec(cameras=SPEC.cameras[::-1]), mapping)
    assert says in str(caught.value)


def test_every_camera_left_out() -> None:
    blind = spec(cameras=(CameraSpec("base", HEIGHT, WIDTH),))
    assert refused(TEN, {"base": ""}, blind) == "made: every camera of the policy is left out"


@pytest.mark.parametrize(
    ("field", "wanted"),
    [
        ("state", lambda i, t: [i, t, 1]),
        ("wide[0:3]", lambda i, t: [i, t, 1]),
        ("wide[:3]", lambda i, t: [i, t, 1]),
        ("wide[2:]", lambda i, t: [1, -i, -t]),
    ],
)
def test_the_state_may_be_another_field_or_part_of_one(field: str, wanted: Any) -> None:
    for sample in take(TEN, {"state": field}).calibration:
        assert sample.state.tolist() == wanted(*place(sample))


@pytest.mark.parametrize(("field", "dims"), [("wide", 5), ("state[0:2]", 2), ("wide[4:2]", 0)])
@pytest.mark.parametrize("on_corrupt", ["skip", "fail"])
def test_a_state_of_other_dimensions(field: str, dims: int, on_corrupt: str) -> None:
    says = f"gives {dims} dimensions, the policy's state has 3: map state=FIELD[FIRST:END]"
    assert says in refused(TEN, {"state": field}, on_corrupt=on_corrupt)


def test_a_policy_without_a_state() -> None:
    found = take(TEN, spec=spec(state=vector(0)))
    assert {sample.state.shape for sample in found.calibration} == {(0,)}
    assert "known: base, wrist" in refused(TEN, {"state": "wide"}, spec(state=vector(0)))


def test_damage_is_noted_once_and_costs_no_more_than_it_must() -> None:
    lost = DatasetError("record 3 is lost")
    nan = episode(5, state=np.full((8, 3), np.nan, np.float32))
    blind = episode(7, frames={"base": Pictures(7, 8), "wrist": Pictures(7, 8, broken=frozenset({2, 6}))})
    made = [lost if i == 3 else nan if i == 5 else blind if i == 7 else episode(i) for i in range(10)]
    found = take(Made(made), count=1000)
    assert found.episodes == 8
    assert found.corrupt == (
        "record 3 is lost",
        "record 5: the state is not finite in step 0",
        "record 7, step 2: does not decode",
        "record 7, step 6: does not decode",
    )
    taken = {place(s) for s in (*found.calibration, *found.held_out)}
    assert taken == {(i, t) for i in range(10) if i not in (3, 5) for t in range(8)} - {(7, 2), (7, 6)}
    for index in (3, 5, 7):
        only = Made([one if i == index else episode(i) for i, one in enumerate(made)])
        assert refused(only, count=1000, on_corrupt="fail").startswith(f"record {index}")


def test_infinite_actions_are_damage() -> None:
    wild = episode(1, action=np.full((8, 2), np.inf, np.float32))
    found = take(Made([episode(0), wild, episode(2)]))
    assert found.corrupt == ("record 1: the action is not finite in step 0",)
    assert (found.episodes, found.remarks) == (2, ())


def test_an_instruction_that_the_policy_does_not_take_costs_its_episode() -> None:
    def takes(instruction: str) -> str:
        return "the instruction is odd" if instruction == "task 1" else ""

    found = take(TEN, count=1000, takes=takes)
    assert found.episodes == 7
    assert found.corrupt == tuple(f"record {i}: the instruction is odd" for i in (1, 4, 7))
    assert {place(s)[0] for s in (*found.calibration, *found.held_out)} == {0, 2, 3, 5, 6, 8, 9}
    assert refused(TEN, takes=takes, on_corrupt="fail") == (
        "record 1: the instruction is odd; --on-corrupt skip leaves such episodes out"
    )
    says = refused(TEN, takes=lambda instruction: "the instruction is odd")
    assert says.startswith("made: 0 usable episodes; ")
    assert says.endswith("; 10 left out, the first: record 0: the instruction is odd")


def test_one_episode_is_refused() -> None:
    assert refused(Made([episode(0)])) == (
        "made: 1 usable episodes; a calibration set needs two, one of them to be held out"
    )
    lost = DatasetError("record 1 is lost")
    assert refused(Made([episode(0), lost])).endswith("; 1 left out, the first: record 1 is lost")


def test_no_image_that_decodes_is_refused() -> None:
    blind = {camera: Pictures(0, 8, broken=frozenset(range(8))) for camera in ("base", "wrist")}
    says = refused(Made([episode(i, frames=blind) for i in range(2)]), count=4)
    assert says.startswith("made: no usable sample; ")
    assert "does not decode" in says


class Same(Pictures):
    """One picture, or a blank."""

    blank = False

    def __getitem__(self, step: int, /) -> Frame:
        return np.zeros((HEIGHT, WIDTH, 3), np.uint8) + step if self.blank else super().__getitem__(0)


class Blank(Same):
    blank = True


class Plain(Pictures):
    """Each of a colour of its own."""

    def __getitem__(self, step: int, /) -> Frame:
        return np.zeros((HEIGHT, WIDTH, 3), np.uint8) + np.array([self.episode, step, 200], np.uint8)


def test_a_camera_that_shows_nothing_is_refused() -> None:
    def shown(wrist: Frames) -> Made:
        return Made([episode(i, frames={"base": Pictures(i, 8), "wrist": wrist}) for i in range(5)])

    assert refused(shown(Blank(0, 8))).startswith('made: "wrist" is blank in all 24 samples')
    assert refused(shown(Plain(0, 8))).startswith('made: "wrist" is blank in all 24 samples')
    assert refused(shown(Same(0, 8))) == 'made: "wrist" shows one and the same picture in all 24 samples'
    take(shown(Pictures(0, 8)))


def test_a_state_that_never_changes_is_refused() -> None:
    still = Made([episode(i, state=np.ones((8, 3), np.float32)) for i in range(5)])
    assert refused(still) == "made: the state is one and the same in all 24 samples"
    take(still, spec=spec(state=vector(0)))


def test_progress_ends_with_all() -> None:
    heard: list[tuple[int, int]] = []
    take(TEN, told=lambda done, of: heard.append((done, of)))
    assert heard == sorted(heard)
    assert heard[-1] == (20, 20)


def test_only_the_frames_that_are_picked_are_decoded() -> None:
    decoded: list[int] = []

    class Watched(Pictures):
        def __getitem__(self, step: int, /) -> Frame:
            decoded.append(step)
            return super().__getitem__(step)

    made = [episode(i, frames={"base": Watched(i, 8), "wrist": Pictures(i, 8)}) for i in range(10)]
    found = take(Made(made))
    assert len(decoded) == len(found.calibration) + len(found.held_out)


def test_the_real_sample(shared: Path) -> None:
    from calibration.open_dataset import open_dataset

    bridge = open_dataset(shared / "data" / "bridge_rlds")
    seven = spec(state=vector(7), action=vector(7))
    found = take(bridge, {"base": "image_0", "wrist": "image_1"}, seven, count=64)
    assert (len(found.calibration), len(found.held_out), found.episodes) == (64, 16, 25)
    sizes = [f"camera {name}: frames of 64×64 are resized to 6×8 for calibration" for name in ("base", "wrist")]
    assert list(found.remarks) == sizes
    says = refused(bridge, {"base": "image_0", "wrist": "image_3"}, seven)
    assert says.startswith('bridge_dataset: "wrist" is blank'), "that camera was not there when these were recorded"
