"""The lerobot layout beyond pi0: prompts, every way to normalise, older releases, relative actions, other families."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import AddedToken, Tokenizer

from edge_runtime.bundle_spec import FastScheme, FlowSpec, PromptSpec, TokenSpec
from edge_runtime.policies.affine import Affine
from edge_runtime.tokenizer import PromptTokenizer
from export import layouts
from export.checkpoint import Checkpoint
from export.errors import CheckpointError
from export.image import Preprocess
from export.layouts.options import Options
from export.loading import load_model
from export.models.decoder import GEMMA
from export.models.smolvlm import SMOLVLM, ImageMarks
from tests.export import tiny_lerobot, tiny_pi, tiny_smolvla
from tests.export.edits import edit_json, edit_tensors

ACTION, STATE = "action", "observation.state"
ALL = tiny_lerobot.STATISTICS


@pytest.fixture(scope="module")
def fast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pi.fast_tokenizer(tmp_path_factory.mktemp("fast"))


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("lerobot")
    made = {kind: tiny_pi.lerobot(folder / kind, kind) for kind in ("pi0", "pi05", "pi0_fast")}
    return {**made, "smolvla": tiny_smolvla.saved(folder / "smolvla")}


@pytest.fixture
def copy(pristine: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    return lambda kind: Path(shutil.copytree(pristine[kind], tmp_path / kind))


Copy = Callable[[str], Path]


def read(folder: Path, **options: Any) -> Checkpoint:
    return layouts.read(folder, Options(**options))


def refused(folder: Path, message: str, **options: Any) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        load_model(read(folder, **options))
    assert "\n" not in str(caught.value)


def step(folder: Path, name: str, **config: Any) -> None:
    """Change the configuration of a step of the preprocessor."""

    def change(processor: dict[str, Any]) -> None:
        found = next(step for step in processor["steps"] if step["registry_name"] == name)
        found["config"].update(config)

    edit_json(folder / "policy_preprocessor.json", change)


def config(folder: Path, **fields: Any) -> None:
    edit_json(folder / "config.json", lambda told: told.update(fields))


# families


def test_a_pi05_is_read(pristine: dict[str, Path]) -> None:
    got = read(pristine["pi05"])
    assert (got.family, got.layout, got.config) == ("pi05", "lerobot", tiny_pi.PI05)
    assert (got.time, got.rate, got.prefix) == ("fraction", "checkpoint", "model.")
    assert got.image == Preprocess(18, "torch-bilinear", "centre")
    assert got.spec.head == FlowSpec(4, 1.0, 0.0, ("keys", "values", "prefix_mask"))
    assert read(pristine["pi05"], steps=2).spec.head.steps == 2  # type: ignore[union-attr]
    assert load_model(got).state_dict().keys() == tiny_pi.model("pi05", tiny_pi.PI05).state_dict().keys()


def test_a_pi0_fast_is_read(pristine: dict[str, Path], fast: Path) -> None:
    """Unlike openpi's: BOS behind the prompt, no further place for what is generated, and relaxed decoding."""
    got = read(pristine["pi0_fast"], fast_tokenizer=fast)
    assert (got.family, got.config) == ("pi0_fast", tiny_pi.LEROBOT_FAST)
    assert (got.config.bos, got.config.decode_offset) == (tiny_pi.ID["<bos>"], 0)
    prefix = tuple(tiny_pi.ID[word] for word in tiny_pi.ANSWER)
    scheme = FastScheme("fast_tokenizer.json", prefix, tiny_pi.ID["|"], tiny_pi.TOP, -45, 4.0, relaxed=True)
    assert got.spec.head == TokenSpec(24, scheme)
    assert got.files == {"fast_tokenizer.json": fast / "tokenizer.json"}
    stored, loaded = got.stored, load_model(got).state_dict()
    head = stored.tensor("model.paligemma_with_expert.paligemma.lm_head.weight")
    assert torch.equal(loaded["head.weight"], head[list(tiny_pi.TOKEN_IDS)])
    assert not torch.equal(loaded["language.embed_tokens.weight"], head)


def test_a_pi0_fasts_chunk_is_what_it_acts_on(copy: Copy, fast: Path) -> None:
    folder = copy("pi0_fast")
    config(folder, n_action_steps=2)
    assert read(folder, fast_tokenizer=fast).spec.horizon == 2
    config(folder, n_action_steps=None)
    assert read(folder, fast_tokenizer=fast).spec.horizon == tiny_pi.HORIZON
    folder = copy("pi05")
    config(folder, n_action_steps=2)
    assert read(folder).spec.horizon == tiny_pi.HORIZON


@pytest.mark.parametrize("kind", ["pi0", "pi05", "pi0_fast", "smolvla"])
def test_more_actions_than_a_chunk_has_are_refused(copy: Copy, fast: Path, kind: str) -> None:
    folder = copy(kind)
    for count in (tiny_pi.HORIZON + 1, 0):
        config(folder, n_action_steps=count)
        refused(folder, rf"n_action_steps is {count}, expected 1 to {tiny_pi.HORIZON}", fast_tokenizer=fast)


def test_what_a_pi0_fast_needs(copy: Copy, fast: Path) -> None:
    folder = copy("pi0_fast")
    refused(folder, "no layout brings the FAST tokenizer; give its directory with --fast-tokenizer")
    config(folder, temperature=0.7)
    refused(folder, r"temperature is 0\.7; only greedy decoding", fast_tokenizer=fast)


# prompts


def words(got: Checkpoint, instruction: str, state: list[float] | None = None) -> str:
    tokenizer = PromptTokenizer(got.tokenizer, got.spec.prompt, got.spec.state.dims)
    prompt = tokenizer.encode(instruction)
    if state is not None:
        prompt = tokenizer.with_state(prompt, np.asarray(state))
    return "".join(tiny_pi.WORDS[i] for i in prompt.tokens[prompt.mask]).replace("▁", " ")


def test_prompts(pristine: dict[str, Path], fast: Path) -> None:
    state = [-1.0, 0.0, 0.999, 5.0]
    pi05, pi0_fast = read(pristine["pi05"]), read(pristine["pi0_fast"], fast_tokenizer=fast)
    assert words(pi05, " up_red\n", state) == "<bos>Task: up red, State: 0 128 255 255;\nAction: "
    assert words(pi0_fast, "Ared", state) == "<bos>Task: Ared, State: 0 128 255 255;\n"
    assert words(read(pristine["pi0"]), " up red ") == "<bos>up red\n"
    assert words(read(pristine["smolvla"]), " up red ") == "up red\n"


def test_a_pi05_whose_prompt_leaves_the_state_out(copy: Copy) -> None:
    """The state is not read at all then, but it is still there for relative actions."""
    folder = copy("pi05")
    step(folder, "pi05_prepare_state_tokenizer_processor_step", include_state_in_prompt=False)
    assert words(read(folder), "up_red") == "<bos>Task: up red;\nAction: "
    step(folder, "pi05_prepare_state_tokenizer_processor_step", include_state_in_prompt=True)
    assert read(folder).spec.prompt.reads_state


# normalisation


def forth(got: Checkpoint, x: Any) -> np.ndarray[Any, Any]:
    out = np.zeros(len(x))
    Affine(got.spec.state_normalisation, len(x)).forth(np.asarray(x, np.float64), out)
    return out


def back(got: Checkpoint, y: Any) -> np.ndarray[Any, Any]:
    out = np.zeros(len(y))
    Affine(got.spec.action_normalisation, len(y)).back(np.asarray(y, np.float64), out)
    return out


X, Y = np.array([1.0, 2.0, -3.0, 0.5]), np.array([0.5, -1.0, 2.0])
LIMITS = {"QUANTILES": ("q01", "q99"), "QUANTILE10": ("q10", "q90"), "MIN_MAX": ("min", "max")}


def stat(key: str, name: str) -> np.ndarray[Any, Any]:
    return np.array(ALL[key][name])


@pytest.mark.parametrize("mode", LIMITS)
def test_by_limits(tmp_path: Path, mode: str) -> None:
    got, (low, high) = read(tiny_pi.lerobot(tmp_path / "c", norm=mode)), LIMITS[mode]
    a, b = stat(STATE, low), stat(STATE, high)
    np.testing.assert_allclose(forth(got, X), 2 * (X - a) / (b - a) - 1, rtol=1e-12)
    a, b = stat(ACTION, low), stat(ACTION, high)
    np.testing.assert_allclose(back(got, Y), (Y + 1) / 2 * (b - a) + a, rtol=1e-12)


def test_by_mean_and_deviation(tmp_path: Path) -> None:
    """The epsilon is added on the way in alone."""
    got = read(tiny_pi.lerobot(tmp_path / "c", norm="MEAN_STD"))
    np.testing.assert_allclose(forth(got, X), (X - stat(STATE, "mean")) / (stat(STATE, "std") + 1e-8), rtol=1e-15)
    assert back(got, Y).tolist() == (Y * stat(ACTION, "std") + stat(ACTION, "mean")).tolist()


def test_as_it_is(tmp_path: Path) -> None:
    got = read(tiny_pi.lerobot(tmp_path / "c", norm="IDENTITY"))
    assert got.spec.state_normalisation.kind == got.spec.action_normalisation.kind == "none"
    assert forth(got, X).tolist() == X.tolist()


@pytest.mark.parametrize("mode", LIMITS)
def test_limits_that_are_equal_are_an_epsilon_apart(tmp_path: Path, mode: str) -> None:
    """A joint that never moved in training: lerobot puts the epsilon in the place of its range, both ways."""
    folder, (low, high) = tiny_pi.lerobot(tmp_path / "c", norm=mode), LIMITS[mode]
    for file in (tiny_lerobot.STATE_FILE, tiny_lerobot.ACTION_FILE):
        for key, at in ((STATE, 3), (ACTION, 1)):
            edit_tensors(folder / file, lambda w, k=key, i=at: w[f"{k}.{high}"].__setitem__(i, w[f"{k}.{low}"][i]))
    got, where = read(folder), ALL[STATE][low][3]
    seen = forth(got, [0.0, 0.0, 0.0, where]), forth(got, [0.0, 0.0, 0.0, where + 1e-6])
    assert seen[0][3] == -1.0
    assert seen[1][3] == pytest.approx(2 * 1e-6 / 1e-8 - 1, rel=1e-6)
    assert back(got, [0.0, 1.0, 0.0])[1] == pytest.approx(ALL[ACTION][low][1] + 1e-8, abs=1e-15)
    whole = (stat(STATE, low) + stat(STATE, high)) / 2
    np.testing.assert_allclose(forth(got, whole)[:3], 0.0, atol=1e-12)


def test_another_epsilon(copy: Copy) -> None:
    folder = copy("pi0")
    step(folder, "normalizer_processor", eps=0.5, norm_map={"STATE": "MEAN_STD"})
    got = read(folder)
    np.testing.assert_allclose(forth(got, X), (X - stat(STATE, "mean")) / (stat(STATE, "std") + 0.5), rtol=1e-15)


# release 0.3: statistics among the weights


@pytest.mark.parametrize("kind", ["pi0", "smolvla"])
def test_statistics_among_the_weights(copy: Copy, kind: str) -> None:
    folder = copy(kind)
    config(folder, normalization_mapping={"VISUAL": "IDENTITY", "STATE": "MEAN_STD", "ACTION": "MEAN_STD"})
    got = read(tiny_lerobot.as_release_03(folder))
    assert not list(folder.glob("policy_*"))
    assert (got.time, got.spec.state_normalisation.eps_in) == ("accumulated", 1e-8)
    np.testing.assert_allclose(forth(got, X), (X - stat(STATE, "mean")) / (stat(STATE, "std") + 1e-8), rtol=1e-15)
    assert back(got, Y).tolist() == (Y * stat(ACTION, "std") + stat(ACTION, "mean")).tolist()
    assert {name.partition(".")[0] for name in got.read} == {
        "normalize_inputs",
        "normalize_targets",
        "unnormalize_outputs",
    }
    load_model(got)


def test_limits_of_that_release(copy: Copy) -> None:
    """(x - min) / (max - min + 1e-8) on the way in, whatever the range; no epsilon on the way back."""
    folder = copy("smolvla")
    config(folder, normalization_mapping={"STATE": "MIN_MAX", "ACTION": "MIN_MAX"})
    tiny_lerobot.as_release_03(folder)
    names = ("normalize_inputs.buffer_observation_state", "unnormalize_outputs.buffer_action")
    for name in names:
        edit_tensors(folder / "model.safetensors", lambda w, n=name: w[f"{n}.max"].__setitem__(1, w[f"{n}.min"][1]))
    got = read(folder)
    low, high = stat(STATE, "min"), stat(STATE, "max")
    high[1] = low[1]
    x = X.copy()
    x[1] = low[1] + 1e-6
    np.testing.assert_allclose(forth(got, x), (x - low) / (high - low + 1e-8) * 2 - 1, rtol=1e-6)
    low, high = stat(ACTION, "min"), stat(ACTION, "max")
    high[1] = low[1]
    np.testing.assert_allclose(back(got, Y), (Y + 1) / 2 * (high - low) + low, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda w: w["normalize_inputs.buffer_observation_state.mean"].fill_(torch.inf),
            r"normalize_inputs\.buffer_observation_state\.mean .*expected 4 finite numbers",
        ),
        (
            lambda w: w["unnormalize_outputs.buffer_action.std"].fill_(torch.nan),
            r"unnormalize_outputs\.buffer_action\.std .*expected 3 finite numbers",
        ),
        (
            lambda w: w.update({"normalize_inputs.so100_buffer_observation_state.mean": torch.zeros(6)}),
            r"has statistics for so100 and none of its own",
        ),
        (
            lambda w: w.update(
                {
                    f"normalize_targets.{robot}_buffer_action.std": torch.ones(6)
                    for robot in ("so100-red", "so100-blue", "so101")
                }
            ),
            r"has statistics for so100-blue, so100-red, so101 and none of its own",
        ),
        (
            lambda w: w.pop("unnormalize_outputs.buffer_action.mean"),
            r"model\.safetensors: lacks unnormalize_outputs\.buffer_action\.mean",
        ),
        (
            lambda w: w.update({"normalise_inputs.buffer_action.mean": torch.zeros(3)}),
            r"has unexpected tensor normalise_inputs\.buffer_action\.mean",
        ),
    ],
    ids=["never filled", "not a number", "one robot's", "several robots'", "missing", "another name"],
)
@pytest.mark.parametrize("kind", ["pi0", "smolvla"])
def test_buffers_that_cannot_be_read(
    copy: Copy, kind: str, spoil: Callable[[dict[str, torch.Tensor]], object], message: str
) -> None:
    folder = copy(kind)
    config(folder, normalization_mapping={"STATE": "MEAN_STD", "ACTION": "MEAN_STD"})
    edit_tensors(tiny_lerobot.as_release_03(folder) / "model.safetensors", spoil)
    refused(folder, message)


def test_a_mapping_of_that_release_that_nobody_knows(copy: Copy) -> None:
    folder = tiny_lerobot.as_release_03(copy("pi0"))
    config(folder, normalization_mapping={"STATE": "RANKS"})
    refused(folder, r"config\.json: normalization_mapping normalises observation\.state by RANKS; known are")


# how time is counted


@pytest.mark.parametrize(
    ("use_peft", "processors", "time"),
    [
        (False, True, "fraction"),
        (True, True, "fraction"),
        (None, True, "accumulated"),
        (None, False, "accumulated"),
        (False, False, "accumulated"),
    ],
)
def test_time_is_counted_as_the_release_does(copy: Copy, use_peft: bool | None, processors: bool, time: str) -> None:
    """Only lerobot from 0.4.3 on, which has `use_peft`, takes 1 - k/n."""
    folder = copy("pi0")
    if not processors:
        config(folder, normalization_mapping={"STATE": "MEAN_STD", "ACTION": "MEAN_STD"})
        tiny_lerobot.as_release_03(folder)
    edit_json(folder / "config.json", lambda told: told.pop("use_peft", None))
    if use_peft is not None:
        config(folder, use_peft=use_peft)
    assert read(folder).time == time


# relative actions


def test_actions_relative_to_the_state(copy: Copy) -> None:
    folder = copy("pi05")
    names = ["shoulder.pos", "Gripper.pos", "wrist.pos"]
    relative = "relative_actions_processor"
    assert read(folder).spec.relative == ()
    step(folder, relative, enabled=True)
    assert read(folder).spec.relative == (True, True, True)  # without names nothing can be left out
    step(folder, relative, action_names=names)
    assert read(folder).spec.relative == (True, False, True)
    step(folder, relative, exclude_joints=["Wrist", "SHOULDER"])
    assert read(folder).spec.relative == (False, True, False)
    step(folder, relative, exclude_joints=[])
    assert read(folder).spec.relative == (True, True, True)
    step(folder, relative, action_names=names[:2], exclude_joints=["gripper"])
    assert read(folder).spec.relative == (True, False, True)  # what has no name is relative
    step(folder, relative, action_names=[*names, "gripper.more"])
    assert read(folder).spec.relative == (True, False, True)
    assert read(folder).spec.control_mode == "absolute"


def test_relative_actions_that_config_json_alone_says(copy: Copy) -> None:
    folder = copy("pi05")
    edit_json(
        folder / "policy_preprocessor.json",
        lambda p: p.update(steps=[s for s in p["steps"] if not s["registry_name"].startswith("relative")]),
    )
    config(folder, use_relative_actions=True, relative_exclude_joints=["grip"], action_feature_names=["a", "grip", "b"])
    assert read(folder).spec.relative == (True, False, True)


# cameras


def test_a_camera_has_the_name_that_the_robot_gave_it(copy: Copy) -> None:
    folder = copy("pi05")
    step(
        folder,
        "rename_observations_processor",
        rename_map={"observation.images.front": "observation.images.base", "observation.images.x": "other"},
    )
    assert [(c.name, c.height, c.width, c.missing) for c in read(folder).spec.cameras] == [
        ("front", 20, 30, "mask"),
        ("wrist", 33, 21, "mask"),
    ]


# names of tensors


@pytest.mark.parametrize("kind", ["pi05", "smolvla"])
def test_a_compiled_models_names(copy: Copy, kind: str) -> None:
    folder = copy(kind)
    wanted = load_model(read(folder)).state_dict()

    def rename(weights: dict[str, torch.Tensor]) -> None:
        for name in list(weights):
            weights[f"model._orig_mod.{name.removeprefix('model.')}"] = weights.pop(name)

    edit_tensors(folder / "model.safetensors", rename)
    got = read(folder)
    assert got.prefix == "model._orig_mod."
    found = load_model(got).state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


def test_a_prefix_too_few_is_named(copy: Copy) -> None:
    folder = copy("pi05")
    edit_tensors(
        folder / "model.safetensors",
        lambda w: w.update({"action_in_proj.bias": w.pop("model.action_in_proj.bias")}),
    )
    refused(folder, r"lacks tensor model\.action_in_proj\.bias( and has unexpected tensor action_in_proj\.bias)?$")


def test_two_heads_of_a_pi05_are_left_over(copy: Copy) -> None:
    """The language head is never read; without the table it is it."""
    folder = copy("pi05")
    head = "model.paligemma_with_expert.paligemma.lm_head.weight"
    table = "model.paligemma_with_expert.paligemma.model.language_model.embed_tokens.weight"
    wanted = read(folder).stored.tensor(head)
    edit_tensors(folder / "model.safetensors", lambda w: w.pop(table))
    assert torch.equal(load_model(read(folder)).state_dict()["language.embed_tokens.weight"], wanted)


# SmolVLA


def test_a_smolvla_is_read(pristine: dict[str, Path]) -> None:
    got = read(pristine["smolvla"])
    assert (got.family, got.layout, got.config) == ("smolvla", "lerobot", tiny_smolvla.CONFIG)
    assert (got.time, got.rate) == ("fraction", "checkpoint")
    assert got.image == Preprocess(36, "torch-bilinear", "top-left")
    spec = got.spec
    cache = ("keys", "values", "cross_keys", "cross_values", "prefix_mask")
    assert spec.head == FlowSpec(4, 1.0, 0.0, cache)
    assert spec.prompt == PromptSpec("{instruction}\n", 24, None, 0, clean=("strip",), vocab=spec.prompt.vocab)
    assert (spec.horizon, spec.dt_s, spec.action.units) == (5, 0.05, ("rad",) * 3)
    assert (spec.state.padded, spec.action.padded) == (8, 9)
    wanted, found = tiny_smolvla.model().state_dict(), load_model(got).state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


def test_a_named_vlm_needs_no_dims(copy: Copy) -> None:
    folder = copy("smolvla")
    (folder / "dims.json").unlink()
    config(folder, resize_imgs_with_padding=[512, 512], num_vlm_layers=16)
    got, vlm = read(folder).config, SMOLVLM["SmolVLM2-500M-Video-Instruct"]
    assert (got.vision, got.scale_factor, got.vocab) == (vlm.vision, 4, 49280)
    assert (got.language.depth, got.language.width, got.language.norm_eps) == (16, 960, 1e-5)
    assert (got.expert.width, got.expert.mlp_dim) == (720, 2048)


def test_a_vlm_that_nobody_knows_needs_all_of_its_dims(copy: Copy) -> None:
    folder = copy("smolvla")
    config(folder, vlm_model_name="somebody/TinyVLM")
    assert read(folder).config == tiny_smolvla.CONFIG
    edit_json(folder / "dims.json", lambda dims: dims.pop("vocab"))
    refused(folder, r"'somebody/TinyVLM' is unknown; known are SmolVLM2-500M-Video-Instruct, or give vlm, vision")


def test_marks_around_images_are_the_tokenizers(copy: Copy) -> None:
    folder = copy("smolvla")
    config(folder, add_image_special_tokens=True, empty_cameras=2)
    refused(folder, r"tokenizer\.json: has no <fake_token_around_image>; it is another model's tokenizer")
    words = Tokenizer.from_file(str(folder / "tokenizer.json"))
    words.add_special_tokens([AddedToken("<fake_token_around_image>"), AddedToken("<global-img>")])
    words.save(str(folder / "tokenizer.json"))
    got = read(folder).config
    assert got.marks == ImageMarks(len(tiny_pi.WORDS), len(tiny_pi.WORDS) + 1)
    assert got.empty_cameras == 2
    config(folder, add_image_special_tokens=False)
    assert (read(folder).config.marks, read(folder).config.empty_cameras) == (None, 0)


def test_layers_above_those_that_are_kept_are_left_over(copy: Copy) -> None:
    folder = copy("smolvla")
    name = "model.vlm_with_expert.vlm.model.text_model.layers.4.mlp.up_proj.weight"
    edit_tensors(folder / "model.safetensors", lambda w: w.update({name: torch.zeros(2)}))
    load_model(read(folder))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"adapt_to_pi_aloha": True}, "adapt_to_pi_aloha, use_delta_joint_actions_aloha: neither can be exported"),
        ({"use_delta_joint_actions_aloha": True}, "neither can be exported"),
        ({"resize_imgs_with_padding": [36, 48]}, r"resize_imgs_with_padding is .*the vision tower takes 36"),
        ({"resize_imgs_with_padding": None}, r"resize_imgs_with_padding is None, the vision tower takes 36"),
        ({"num_expert_layers": 2}, "num_expert_layers is 2, the VLM has 4 layers"),
        ({"num_steps": 0}, "must be above zero"),
        ({"expert_width_multiplier": 0.7}, r"has shape .*, the sizes say .*; give the right sizes"),
    ],
)
def test_a_smolvla_that_is_not_exported(copy: Copy, fields: dict[str, Any], message: str) -> None:
    folder = copy("smolvla")
    config(folder, **fields)
    refused(folder, message)


def test_gemma_variants_are_named_where_dims_leave_them_out(copy: Copy) -> None:
    folder = copy("pi05")
    edit_json(folder / "dims.json", lambda dims: [dims.pop("vlm"), dims.pop("expert")])
    got = read(folder).config
    assert got.language == GEMMA["gemma_2b"]
    assert (got.expert.width, got.expert.adaptive) == (GEMMA["gemma_300m"].width, True)


def test_statistics_beside_the_processors_are_kept_apart(copy: Copy) -> None:
    """Those of the state are the preprocessor's, those of the action the postprocessor's."""
    folder = copy("pi0")
    edit_tensors(folder / tiny_lerobot.STATE_FILE, lambda w: w["action.q01"].fill_(-9.0))
    edit_tensors(folder / tiny_lerobot.ACTION_FILE, lambda w: w["observation.state.q01"].fill_(-9.0))
    got = read(folder).spec
    assert got.action_normalisation.a == tuple(ALL[ACTION]["q01"])
    assert got.state_normalisation.a == tuple(ALL[STATE]["q01"])
    content = json.loads((folder / "policy_postprocessor.json").read_text())
    content["steps"][0]["config"]["norm_map"]["ACTION"] = "MIN_MAX"
    (folder / "policy_postprocessor.json").write_text(json.dumps(content))
    assert read(folder).spec.action_normalisation.a == tuple(ALL[ACTION]["min"])
