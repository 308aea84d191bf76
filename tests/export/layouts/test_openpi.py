"""The openpi layout: what its files and a dims.json say is read, whatever is broken or missing is one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edge_runtime.bundle_spec import CameraSpec, FastScheme, FlowSpec, TokenSpec
from edge_runtime.policies.affine import Affine
from edge_runtime.tokenizer import PromptTokenizer
from export import layouts
from export.checkpoint import Checkpoint
from export.errors import CheckpointError
from export.image import Preprocess
from export.layouts.conventions import LIBERO_RAW
from export.layouts.options import Options
from export.loading import load_model
from export.models.decoder import GEMMA
from export.models.pi0 import HEAD, TABLE
from export.models.vit import SIGLIP
from export.pipeline import export_checkpoint
from tests.export import tiny_pi
from tests.export.edits import edit_json, edit_tensors

KINDS = ("pi0", "pi05", "pi0_fast")
SLOTS = {
    "pi0": ("base_0_rgb", "left_wrist_0_rgb", "right_wrist_0_rgb"),
    "pi0_fast": ("base_0_rgb", "base_1_rgb", "wrist_0_rgb"),
}
STATE, ACTIONS = tiny_pi.STATE, tiny_pi.ACTIONS


@pytest.fixture(scope="module")
def fast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pi.fast_tokenizer(tmp_path_factory.mktemp("fast"))


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("openpi")
    return {kind: tiny_pi.openpi(folder / kind, kind) for kind in KINDS}


@pytest.fixture
def copy(pristine: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    return lambda kind: Path(shutil.copytree(pristine[kind], tmp_path / kind))


@pytest.fixture
def read(fast: Path) -> Callable[..., Checkpoint]:
    """Everything of a checkpoint but its weights; `dims` changes its dims.json."""

    def reader(folder: Path, dims: dict[str, Any] | None = None, **options: Any) -> Checkpoint:
        edit_json(folder / "dims.json", lambda told: told.update(dims or {}))
        return layouts.read(folder, Options(**{"fast_tokenizer": fast, **options}))

    return reader


Read = Callable[..., Checkpoint]
Copy = Callable[[str], Path]


def test_liberos_statistics_say_what_its_actions_mean(copy: Copy, read: Read) -> None:
    """openpi's data have the simulator's gripper: -1 open, 1 closed."""
    folder = copy("pi0")
    assert read(folder).spec.pose is None
    shutil.rmtree(folder / "assets")
    path = tiny_pi.asset(folder, "physical-intelligence/libero")
    numbers = {key: list(range(dims)) for key, dims in (("state", 8), ("actions", 7))}
    kinds = ("mean", "std", "q01", "q99")
    path.write_text(json.dumps({"norm_stats": {key: dict.fromkeys(kinds, n) for key, n in numbers.items()}}))
    spec = read(folder, dims={"state_dim": 8, "action_dim": 7}).spec
    assert (spec.pose, spec.control_mode) == (LIBERO_RAW, "delta")


@pytest.mark.parametrize(
    ("kind", "config"), [("pi0", tiny_pi.PI0), ("pi05", tiny_pi.PI05), ("pi0_fast", tiny_pi.OPENPI_FAST)]
)
def test_a_family_is_told_by_its_tensors(pristine: dict[str, Path], read: Read, kind: str, config: Any) -> None:
    """The three config.json are the same."""
    assert {(path / "config.json").read_bytes() for path in pristine.values()} == {
        (pristine[kind] / "config.json").read_bytes()
    }
    got = read(pristine[kind])
    assert (got.family, got.layout, got.config) == (kind, "openpi", config)
    assert (got.time, got.rate, got.prefix) == ("accumulated", "checkpoint", "")
    assert got.image == Preprocess(18, "pil-bilinear", "centre")
    spec = got.spec
    assert (spec.horizon, spec.dt_s, spec.control_mode, spec.relative) == (5, 0.05, "absolute", ())
    assert (spec.state.names, spec.state.padded) == (("state.0", "state.1", "state.2", "state.3"), 9)
    assert (spec.action.names, spec.action.units) == (("action.0", "action.1", "action.2"), ("rad",) * 3)


def test_heads(pristine: dict[str, Path], read: Read) -> None:
    for kind in ("pi0", "pi05"):
        assert read(pristine[kind]).spec.head == FlowSpec(10, 1.0, 0.0, ("keys", "values", "prefix_mask"))
        assert read(pristine[kind], steps=3).spec.head.steps == 3  # type: ignore[union-attr]
    prefix = tuple(tiny_pi.ID[word] for word in tiny_pi.ANSWER)
    scheme = FastScheme("fast_tokenizer.json", prefix, tiny_pi.ID["|"], tiny_pi.TOP, -45, 4.0, relaxed=False)
    assert read(pristine["pi0_fast"]).spec.head == TokenSpec(12, scheme)


@pytest.mark.parametrize("kind", KINDS)
def test_the_head_is_the_only_copy_of_the_table(pristine: dict[str, Path], read: Read, kind: str) -> None:
    got = read(pristine[kind])
    assert HEAD in got.stored.names
    assert TABLE not in got.stored.names
    loaded, wanted = load_model(got).state_dict(), tiny_pi.model(kind, got.config).state_dict()
    table = wanted["language.embed_tokens.weight"]
    if kind == "pi0_fast":
        wanted["head.weight"] = table[list(tiny_pi.TOKEN_IDS)]
    assert loaded.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert torch.equal(loaded[name], tensor), name


# prompts


def words(got: Checkpoint, instruction: str, state: list[float] | None = None) -> tuple[str, list[int]]:
    """The prompt as text, and its tokens."""
    tokenizer = PromptTokenizer(got.tokenizer, got.spec.prompt, got.spec.state.dims)
    prompt = tokenizer.encode(instruction)
    if state is not None:
        prompt = tokenizer.with_state(prompt, np.asarray(state))
    ids = prompt.tokens[prompt.mask].tolist()
    return "".join(tiny_pi.WORDS[i] for i in ids).replace("▁", " "), ids


def test_pi0_has_the_newline_for_itself(pristine: dict[str, Path], read: Read) -> None:
    text, ids = words(read(pristine["pi0"]), " Pick_up\nred ")
    assert text == "<bos><unk>ick up red\n"
    assert ids[-1] == tiny_pi.ID["\n"]
    assert read(pristine["pi0"]).spec.prompt.apart


def test_pi05_is_told_the_state(pristine: dict[str, Path], read: Read) -> None:
    """As openpi's `PaligemmaTokenizer`: nothing holds the bins back below, so -1 can be said."""
    text, _ = words(read(pristine["pi05"]), "up_red", [-1.5, -1.0, 0.0, 0.999])
    assert text == "<bos>Task: up red, State: -1 0 128 255;\nAction: "


def test_pi0_fast_is_told_in_small_letters(pristine: dict[str, Path], read: Read) -> None:
    text, _ = words(read(pristine["pi0_fast"]), "UP_Red", [0.0, 0.0, 0.5, 2.0])
    assert text == "<bos>Task: up red, State: 128 128 192 255;\n"


def test_a_pi05_without_the_state_in_its_prompt(copy: Copy, read: Read) -> None:
    """openpi's libero configuration: the prompt is pi0's, and nothing of the state is asked for."""
    got = read(copy("pi05"), {"discrete_state_input": False})
    assert words(got, "up red")[0] == "<bos>up red\n"
    assert got.spec.prompt.apart
    assert (got.spec.state.dims, got.spec.state_normalisation.kind) == (0, "none")
    assert got.spec.action_normalisation.kind == "quantiles"


def test_a_state_that_actions_are_relative_to_is_asked_for(copy: Copy, read: Read) -> None:
    got = read(copy("pi05"), {"discrete_state_input": False, "relative_actions": [True, True, False]})
    assert (got.spec.state.dims, got.spec.relative) == (4, (True, True, False))
    assert words(got, "up red")[0] == "<bos>up red\n"


@pytest.mark.parametrize(("kind", "room"), [("pi0", 48), ("pi05", 200), ("pi0_fast", 250)])
def test_room_for_the_prompt(copy: Copy, read: Read, kind: str, room: int) -> None:
    folder = copy(kind)
    assert read(folder).spec.prompt.max_tokens == room
    assert read(folder, {"max_token_len": 60}).spec.prompt.max_tokens == 60
    assert read(folder, max_tokens=70).spec.prompt.max_tokens == 70


# statistics


def forth(got: Checkpoint, x: list[float]) -> np.ndarray[Any, Any]:
    out = np.zeros(len(x))
    Affine(got.spec.state_normalisation, len(x)).forth(np.asarray(x), out)
    return out


def back(got: Checkpoint, y: list[float]) -> np.ndarray[Any, Any]:
    out = np.zeros(len(y))
    Affine(got.spec.action_normalisation, len(y)).back(np.asarray(y), out)
    return out


def test_a_pi0_is_normalised_by_mean_and_deviation(pristine: dict[str, Path], read: Read) -> None:
    got, x, y = read(pristine["pi0"]), [1.0, 2.0, -3.0, 0.5], [0.5, -1.0, 2.0]
    mean, std = np.array(STATE["mean"]), np.array(STATE["std"])
    np.testing.assert_allclose(forth(got, x), (np.array(x) - mean) / (std + 1e-6), rtol=1e-14)
    mean, std = np.array(ACTIONS["mean"]), np.array(ACTIONS["std"])
    np.testing.assert_allclose(back(got, y), np.array(y) * (std + 1e-6) + mean, rtol=1e-14)


@pytest.mark.parametrize("kind", ["pi05", "pi0_fast"])
def test_the_others_are_by_quantiles(pristine: dict[str, Path], read: Read, kind: str) -> None:
    got, x, y = read(pristine[kind]), [1.0, 2.0, -3.0, 0.5], [0.5, -1.0, 2.0]
    low, high = np.array(STATE["q01"]), np.array(STATE["q99"])
    np.testing.assert_allclose(forth(got, x), (np.array(x) - low) / (high - low + 1e-6) * 2 - 1, rtol=1e-12)
    low, high = np.array(ACTIONS["q01"]), np.array(ACTIONS["q99"])
    np.testing.assert_allclose(back(got, y), (np.array(y) + 1) / 2 * (high - low + 1e-6) + low, rtol=1e-12)


@pytest.mark.parametrize("kind", ["pi0", "pi05"])
def test_statistics_are_cut_to_the_robots_dimensions(copy: Copy, read: Read, kind: str) -> None:
    got = read(copy(kind), {"state_dim": 2, "action_dim": 1})
    assert (got.spec.state.dims, got.spec.action.dims) == (2, 1)
    low = "mean" if kind == "pi0" else "q01"
    assert got.spec.state_normalisation.a == tuple(STATE[low][:2])
    assert got.spec.action_normalisation.a == tuple(ACTIONS[low][:1])


@pytest.mark.parametrize("kind", ["pi0", "pi05"])
def test_dimensions_beyond_the_statistics_are_taken_as_they_are(copy: Copy, read: Read, kind: str) -> None:
    got = read(copy(kind), {"state_dim": 6, "action_dim": 5})
    assert forth(got, [0.0] * 4 + [7.0, -8.0])[4:].tolist() == [7.0, -8.0]
    assert back(got, [0.0] * 3 + [7.0, -8.0])[3:].tolist() == [7.0, -8.0]
    low = "mean" if kind == "pi0" else "q01"
    assert got.spec.state_normalisation.a[:4] == tuple(STATE[low])


def test_quantiles_that_are_equal_do_not_divide_by_zero(copy: Copy, read: Read) -> None:
    folder = copy("pi05")
    path = folder / "assets" / tiny_pi.ASSET / "norm_stats.json"
    edit_json(path, lambda all: all["norm_stats"]["state"].update(q99=STATE["q01"]))
    assert forth(read(folder), STATE["q01"]).tolist() == [-1.0] * 4


def test_of_several_robots_one_must_be_chosen(copy: Copy, read: Read) -> None:
    folder = copy("pi0")
    path = tiny_pi.asset(folder, "trossen")
    edit_json(path, lambda all: all["norm_stats"]["state"].update(mean=[9.0] * 4))
    with pytest.raises(CheckpointError, match=r"has statistics for tiny/robot, trossen; choose one with --statistics"):
        read(folder)
    with pytest.raises(CheckpointError, match=r"no statistics for 'trosen'; there are tiny/robot, trossen"):
        read(folder, statistics="trosen")
    assert read(folder, statistics="trossen").spec.state_normalisation.a == (9.0,) * 4
    assert read(folder, statistics="tiny/robot").spec.state_normalisation.a == tuple(STATE["mean"])


# cameras


def cameras(got: Checkpoint) -> list[tuple[str, int, int, str]]:
    return [(c.name, c.height, c.width, c.missing) for c in got.spec.cameras]


@pytest.mark.parametrize("kind", ["pi0", "pi05"])
def test_a_slot_that_nobody_has_frames_for_is_left_out(copy: Copy, read: Read, kind: str) -> None:
    """Masked patches change nothing, whatever slot they are in (see test_pi0)."""
    folder, (base, left, right) = copy(kind), SLOTS["pi0"]
    assert cameras(read(folder, cameras={right: (4, 6), base: (8, 9)})) == [(base, 8, 9, "mask"), (right, 4, 6, "mask")]
    dims = {"images": {base: [20, 30], left: [33, 21]}}
    assert cameras(read(folder, dims)) == [(base, 20, 30, "mask"), (left, 33, 21, "mask")]
    assert cameras(read(folder, cameras={left: (5, 5)})) == [(base, 20, 30, "mask"), (left, 5, 5, "mask")]


def test_a_pi0_fast_sees_such_a_slot_black(copy: Copy, read: Read) -> None:
    folder, (base, more, wrist) = copy("pi0_fast"), SLOTS["pi0_fast"]
    got = cameras(read(folder, cameras={base: (8, 9)}))
    assert got == [(base, 8, 9, "black"), (more, 18, 18, "black"), (wrist, 18, 18, "black")]
    libero = cameras(read(folder, cameras={"observation/image": (8, 9), "observation/wrist_image": (4, 6)}))
    assert libero == [("observation/image", 8, 9, "black"), ("observation/wrist_image", 4, 6, "black")]


@pytest.mark.parametrize("kind", KINDS)
def test_frames_of_no_known_size_are_one_line(pristine: dict[str, Path], read: Read, fast: Path, kind: str) -> None:
    assert read(pristine[kind]).spec.cameras[0] == CameraSpec("base_0_rgb", 0, 0, "black" if "fast" in kind else "mask")
    out = pristine[kind].parent / "bundle"
    with pytest.raises(CheckpointError, match=r"camera base_0_rgb: .* --camera base_0_rgb=480x640") as caught:
        export_checkpoint(pristine[kind], out, Options(fast_tokenizer=fast if kind == "pi0_fast" else None))
    assert "\n" not in str(caught.value)
    assert not out.exists()


# sizes


def test_published_variants_need_no_dims(copy: Copy, read: Read) -> None:
    for kind in KINDS:
        folder = copy(kind)
        (folder / "dims.json").write_text("{}")
        config = read(folder).config
        assert (config.vision, config.language, config.vocab) == (SIGLIP["so400m"], GEMMA["gemma_2b"], 257152)
        if kind != "pi0_fast":
            assert (config.expert.width, config.expert.adaptive) == (1024, kind == "pi05")


def test_a_rate_that_nobody_said_is_assumed(copy: Copy, read: Read) -> None:
    got = read(copy("pi0"), {"fps": None})
    assert (got.spec.dt_s, got.rate) == (1 / 30, "assumed")


# what is broken


def stats(folder: Path) -> Path:
    return folder / "assets" / tiny_pi.ASSET / "norm_stats.json"


def norm(key: str, **fields: Any) -> Callable[[Path], object]:
    return lambda folder: edit_json(stats(folder), lambda all: all["norm_stats"][key].update(fields))


def dims(**fields: Any) -> Callable[[Path], object]:
    return lambda folder: edit_json(folder / "dims.json", lambda told: told.update(fields))


def config(**fields: Any) -> Callable[[Path], object]:
    return lambda folder: edit_json(folder / "config.json", lambda told: told.update(fields))


def weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], object]:
    return lambda folder: edit_tensors(folder / "model.safetensors", change)


def only_vision(tensors: dict[str, torch.Tensor]) -> None:
    for name in list(tensors):
        del tensors[name]
    tensors["encoder.weight"] = torch.zeros(2)


BROKEN: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "no assets": ("pi0", lambda f: shutil.rmtree(f / "assets"), r"assets: has no norm_stats\.json; copy"),
    "no statistics of actions": (
        "pi0",
        lambda f: edit_json(stats(f), lambda all: all["norm_stats"].pop("actions")),
        r"norm_stats has no actions; it has state",
    ),
    "no norm_stats": ("pi0", lambda f: stats(f).write_text("{}"), r"norm_stats\.json: .*missing required field"),
    "no quantiles": ("pi05", norm("state", q01=None, q99=None), "state has no q01 and q99 of one length"),
    "quantiles of two lengths": ("pi05", norm("actions", q99=[1.0]), "actions has no q01 and q99 of one length"),
    "statistics wider than the model": ("pi0", config(action_dim=3), "state of 4 dimensions, action_dim is 3; see"),
    "no head": ("pi0", weights(lambda w: w.pop(HEAD)), r"lacks tensor paligemma_with_expert\.paligemma\.lm_head"),
    "no head of a pi0-FAST": (
        "pi0_fast",
        weights(lambda w: w.pop(HEAD)),
        r"lacks tensors? paligemma_with_expert\.paligemma\.lm_head",
    ),
    "a tensor too many": (
        "pi05",
        weights(lambda w: w.update({"value_head.weight": torch.zeros(2)})),
        r"has unexpected tensor value_head\.weight$",
    ),
    "a state in a pi05": (
        "pi05",
        weights(lambda w: w.update({"state_proj.weight": torch.zeros(12, 9)})),
        "lacks tensors action_time_mlp_in",
    ),
    "another model": ("pi0", weights(only_vision), "neither state_proj .* nor time_mlp_in .* nor a PaliGemma"),
    "no weights": ("pi0", lambda f: (f / "model.safetensors").unlink(), r"model\.safetensors: no such file"),
    "no horizon": (
        "pi0",
        lambda f: edit_json(f / "config.json", lambda c: c.pop("action_horizon")),
        r"config\.json: .*missing required field `action_horizon`",
    ),
    "an unknown variant": (
        "pi0",
        lambda f: (config(paligemma_variant="gemma_9b")(f), dims(vlm=None)(f)),
        "paligemma_variant 'gemma_9b' is unknown; known are gemma_2b, gemma_300m, or give --dims",
    ),
    "sizes that do not fit": ("pi0", dims(expert={**tiny_pi.DIMS["expert"], "depth": 3}), "depth differs"),
    "other sizes": (
        "pi05",
        dims(vlm={**tiny_pi.DIMS["vlm"], "mlp_dim": 25}),
        r"mlp\.gate_proj\.weight has shape \[24, 16\], the sizes say \[25, 16\]; give the right sizes with --dims",
    ),
    "a table of another size": (
        "pi0_fast",
        dims(vocab=tiny_pi.VOCAB - 1),
        rf"has shape \[{tiny_pi.VOCAB}, 16\], the sizes say \[{tiny_pi.VOCAB - 1}, 16\]",
    ),
    "no tokenizer": ("pi05", lambda f: (f / "tokenizer.json").unlink(), "tokenizer.json: no such file.*--tokenizer"),
    "a tokenizer of another model": ("pi0", dims(vocab=20), "tokens, the model's table 20; it is another model's"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken(copy: Copy, read: Read, case: str) -> None:
    kind, spoil, message = BROKEN[case]
    folder = copy(kind)
    spoil(folder)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_model(read(folder))
    assert "\n" not in str(caught.value)


def fast_of(**changes: Any) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        path = folder / "processor_config.json"
        path.write_text(json.dumps({"min_token": -45, "scale": 4.0, "vocab_size": 24, **changes}))

    return change


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (shutil.rmtree, r"processor_config\.json: cannot be read"),
        (lambda f: (f / "tokenizer.json").unlink(), r"fast/tokenizer\.json: "),
        (fast_of(scale="ten"), r"processor_config\.json: Expected `float`"),
        (
            lambda f: tiny_pi.fast_tokenizer(f, tuple(chr(0x100 + i) for i in range(90))),
            rf"90 FAST tokens do not fit below token {tiny_pi.TOP}",
        ),
    ],
    ids=["no directory", "no tokens", "no number", "too many tokens"],
)
def test_a_fast_tokenizer_that_does_not_fit(
    pristine: dict[str, Path], read: Read, tmp_path: Path, spoil: Callable[[Path], object], message: str
) -> None:
    fast = tiny_pi.fast_tokenizer(tmp_path / "fast")
    spoil(fast)
    with pytest.raises(CheckpointError, match=message) as caught:
        read(pristine["pi0_fast"], fast_tokenizer=fast)
    assert "\n" not in str(caught.value)


def test_a_fast_tokenizer_must_be_given(pristine: dict[str, Path]) -> None:
    with pytest.raises(CheckpointError, match="give its directory with --fast-tokenizer"):
        layouts.read(pristine["pi0_fast"], Options())
