"""A PaliGemma's directory and its action_config.json → what the export knows, or one line that says what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models

from edge_runtime.bundle_spec import (
    BinScheme,
    CameraSpec,
    IntegerScheme,
    Normalisation,
    PolicySpec,
    PoseSpec,
    PoseVector,
    TokenSpec,
)
from export.checkpoint import Checkpoint
from export.errors import CheckpointError
from export.image import Preprocess
from export.layouts import rt2
from export.layouts.options import Options
from export.loading import load_model
from export.models.decoder import DecoderConfig
from export.models.rt2 import Rt2
from export.models.vit import VitConfig
from tests.export.tiny_rt2 import (
    HF_CONFIG,
    ID,
    INTEGER_IDS,
    INTEGERS,
    RARE_IDS,
    VOCAB,
    config,
    transformers,
    weights,
    write,
)


def read(folder: Path, options: Options | None = None, **changes: Any) -> Checkpoint:
    return rt2.read(write(folder, **changes), options or Options())


def test_what_the_files_say(tmp_path: Path) -> None:
    found = read(tmp_path, units=["m", ""], fps=5, prompt="Q: {instruction}?", max_tokens=30)
    assert (found.family, found.layout, found.rate, found.prefix) == ("rt2", "huggingface", "checkpoint", "")
    assert found.config == config(RARE_IDS)
    spec = found.spec
    assert spec.cameras == (CameraSpec("front", 20, 30, missing="refuse"),)
    assert (spec.action.names, spec.action.units, spec.action.padded) == (("dx", "grip"), ("m", ""), 2)
    assert (spec.state.dims, spec.state_normalisation.kind) == (0, "none")
    assert spec.action_normalisation == Normalisation("min_max", (-0.5, 1.0), (1.5, 3.0))
    assert (spec.horizon, spec.dt_s, spec.control_mode) == (1, 0.2, "delta")
    prompt = spec.prompt
    assert (prompt.template, prompt.max_tokens) == ("Q: {instruction}?\n", 30)
    assert (prompt.bos_id, prompt.pad_id, prompt.clean) == (ID["<bos>"], ID["<pad>"], ("strip",))
    assert found.image == Preprocess(18, "pil-bicubic", "stretch")


def test_integers_are_spelt_in_what_the_tokenizer_needs(tmp_path: Path) -> None:
    found = read(tmp_path, **INTEGERS)
    head = found.spec.head
    assert isinstance(head, TokenSpec)
    assert found.config.token_ids == INTEGER_IDS
    assert head.scheme == IntegerScheme(stop=ID["<eos>"], terminate=True)
    assert head.max_new == 3 + 2 * 4 + 1  # "200 200 200", and the stop


def test_two_actions_without_a_flag(tmp_path: Path) -> None:
    head = read(tmp_path, **INTEGERS, horizon=2, terminate=False).spec.head
    assert isinstance(head, TokenSpec)
    assert (head.max_new, head.scheme) == (3 + 3 * 4 + 1, IntegerScheme(stop=ID["<eos>"]))


@pytest.mark.parametrize(("terminate", "horizon", "count"), [(True, 1, 3), (False, 1, 2), (True, 4, 12)])
def test_one_token_a_number(tmp_path: Path, terminate: bool, horizon: int, count: int) -> None:
    found = read(tmp_path, terminate=terminate, horizon=horizon)
    assert found.spec.head == TokenSpec(count, BinScheme(terminate=terminate))
    assert found.config.token_ids == RARE_IDS


def test_what_the_person_says_counts(tmp_path: Path) -> None:
    other = write(tmp_path / "other", high=[2.0, 4.0], names=None, cameras={"b": [4, 5], "a": [6, 7]})
    options = Options(
        dims=other / "action_config.json",
        fps=2.0,
        max_tokens=9,
        cameras={"a": (60, 80)},
        tokenizer=other / "tokenizer.json",
    )
    found = read(tmp_path / "own", options)
    assert found.spec.action_normalisation.b == (2.0, 4.0)
    assert found.spec.action.names == ("action.0", "action.1")
    assert [(c.name, c.height, c.width) for c in found.spec.cameras] == [("b", 4, 5), ("a", 60, 80)]
    assert (found.spec.dt_s, found.rate, found.spec.prompt.max_tokens) == (0.5, "given", 9)
    assert found.tokenizer == other / "tokenizer.json"


@pytest.mark.parametrize(
    ("given", "cameras"), [({}, [("image", 0, 0)]), ({"b": (4, 5), "a": (6, 7)}, [("b", 4, 5), ("a", 6, 7)])]
)
def test_cameras_that_no_file_names(tmp_path: Path, given: Any, cameras: Any) -> None:
    """One of an unknown size, or the robot's in the order in which they are given."""
    spec: PolicySpec = read(tmp_path, Options(cameras=given), cameras=None).spec
    assert [(c.name, c.height, c.width) for c in spec.cameras] == cameras


def test_a_rate_that_nobody_said(tmp_path: Path) -> None:
    found = read(tmp_path)
    assert found.spec.dt_s == pytest.approx(1 / 3)
    assert found.rate == "assumed"


@pytest.mark.parametrize("name", ["preprocessor_config.json", "processor_config.json"])
def test_the_image_processor_counts(tmp_path: Path, name: str) -> None:
    """Alone, or inside the processor's file as transformers 5 saves it."""
    told = {"size": {"height": 18, "width": 18}, "resample": 2, "image_mean": [0.1, 0.2, 0.3], "image_std": [1, 2, 3]}
    write(tmp_path)
    (tmp_path / name).write_text(json.dumps(told if name[:3] == "pre" else {"image_processor": told}))
    mean, std = ((0.1, 0.2, 0.3),), ((1.0, 2.0, 3.0),)
    found = rt2.read(tmp_path, Options()).image
    assert found == Preprocess(18, "pil-bilinear", "stretch", mean=mean, std=std)


def test_sizes_that_config_json_leaves_out_are_as_in_transformers(tmp_path: Path) -> None:
    """Published files tell what differs from transformers' own defaults, image_size and head_dim among them."""
    sizes = {"vision_config": {}, "text_config": {"hidden_size": 2048}, "projection_dim": 2048}
    found = read(tmp_path, hf=sizes).config
    theirs = transformers().PaliGemmaConfig(**json.loads(json.dumps(sizes)))
    v, t = theirs.vision_config, theirs.text_config
    assert found.vision == VitConfig(
        hidden=v.hidden_size,
        layers=v.num_hidden_layers,
        heads=v.num_attention_heads,
        mlp=v.intermediate_size,
        patch=v.patch_size,
        image=v.image_size,
    )
    assert found.language == DecoderConfig(
        width=2048,
        depth=t.num_hidden_layers,
        mlp_dim=t.intermediate_size,
        num_heads=t.num_attention_heads,
        num_kv_heads=t.num_key_value_heads,
        head_dim=t.head_dim,
        norm_eps=t.rms_norm_eps,
        rope_base=t.rope_parameters["rope_theta"],
    )
    assert found.vocab == t.vocab_size


@pytest.mark.parametrize(
    "rope", [{"rope_theta": 500.0}, {"rope_parameters": {"rope_theta": 500.0, "rope_type": "default"}}]
)
def test_rope_by_both_of_its_names(tmp_path: Path, rope: dict[str, Any]) -> None:
    found = read(tmp_path, hf={"text_config": {**HF_CONFIG["text_config"], **rope}})
    assert found.config.language.rope_base == 500.0


def test_sharded_weights(tmp_path: Path) -> None:
    made = weights()
    halves = [dict(list(made.items())[i::2]) for i in range(2)]
    write(tmp_path).joinpath("model.safetensors").unlink()
    index: dict[str, str] = {}
    for i, half in enumerate(halves):
        save_file(half, tmp_path / f"model-{i}.safetensors")
        index |= dict.fromkeys(half, f"model-{i}.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    found = rt2.read(tmp_path, Options())
    assert len(found.stored.files) == 2
    assert isinstance(load_model(found), Rt2)


TEXT, VISION = HF_CONFIG["text_config"], HF_CONFIG["vision_config"]
BAD_CONFIG: dict[str, tuple[dict[str, Any], str]] = {
    "PaliGemma 2": ({"text_config": {"model_type": "gemma2"}}, r"text_config is a gemma2; .* the first"),
    "another activation": ({"text_config": {**TEXT, "hidden_act": "silu"}}, "no plain Gemma"),
    "scaled positions": ({"text_config": {**TEXT, "rope_scaling": {"factor": 2}}}, "scales its positions"),
    "another tower": ({"vision_config": {"model_type": "clip_vision_model"}}, "no plain SigLIP"),
    "another norm": ({"vision_config": {**VISION, "layer_norm_eps": 1e-5}}, "no plain SigLIP"),
    "another projection": ({"projection_dim": 8}, "projection_dim is 8, text_config's width 16"),
    "no depth": ({"text_config": {**TEXT, "num_hidden_layers": 0}}, "with these sizes depth is 0"),
    "odd heads": ({"vision_config": {**VISION, "num_attention_heads": 5}}, "with these sizes .* 24 .* 5 heads"),
    "oblong images": ({"vision_config": {**VISION, "image_size": [18, 20]}}, r"Expected `int`, got `array`"),
    "no towers": ({"vision_config": None}, r"Expected `object`, got `null` - at `\$.vision_config`"),
    "a small table": ({"image_token_index": 3, "text_config": {**TEXT, "vocab_size": 9}}, "the model's table 9"),
}


@pytest.mark.parametrize("name", BAD_CONFIG)
def test_a_config_that_is_not_exported(tmp_path: Path, name: str) -> None:
    change, message = BAD_CONFIG[name]
    with pytest.raises(CheckpointError, match=message) as error:
        read(tmp_path, hf=change)
    assert "\n" not in str(error.value)


SEVEN = {"low": [-0.05] * 6 + [0.0], "high": [0.05] * 6 + [1.0], "names": None}
FORMS = {"frame": "base", "action": {"rotation": "euler_xyz", "closed": [1.0], "open": [0.0]}}


def test_what_actions_mean_is_told_in_their_file(tmp_path: Path) -> None:
    assert read(tmp_path / "none").spec.pose is None
    known = PoseSpec("base", PoseVector("euler_xyz", closed=(1.0,), open=(0.0,)))
    assert read(tmp_path / "told", **SEVEN, pose=FORMS).spec.pose == known


BAD_ACTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "no scheme": ({"scheme": None}, "missing required field `scheme`"),
    "a pose of other numbers": ({"pose": FORMS}, "pose: an action is a pose and one number of a gripper, low has 2"),
    "half a pose": ({"pose": {"frame": "base"}}, "missing required field `action`"),
    "another scheme": ({"scheme": "floats"}, "Invalid enum value 'floats'"),
    "no range": ({"low": None}, "missing required field `low`"),
    "no flag said": ({"terminate": None}, "missing required field `terminate`"),
    "no mode": ({"control_mode": None}, "missing required field `control_mode`"),
    "a key that is none": ({"token_id": [1]}, "unknown field `token_id`"),
    "no dimension": ({"low": [], "high": [], "names": None}, "low: an action needs at least one"),
    "ranges of two lengths": ({"high": [1.5, 3.0, 4.0]}, "high: has 3 entries, low has 2"),
    "no high": ({"high": []}, "high: has 0 entries, low has 2"),
    "a range upside down": ({"high": [1.5, 1.0]}, r"low\[1\] is 1.0 and high\[1\] 1.0"),
    "an endless range": ({"high": [1.5, 1e308], "low": [0, -1e308]}, r"low\[1\] is -1e\+308"),
    "names of another robot": ({"names": ["x"]}, "names: has 1 entries, low has 2"),
    "one name twice": ({"names": ["x", "x"]}, "names: one is empty or used twice"),
    "units of another robot": ({"units": ["m", "m", "m"]}, "units: has 3 entries"),
    "one bin": ({"bins": 1}, "bins: 1 is none of 2 to 1024"),
    "no horizon": ({"horizon": 0}, "horizon and max_tokens must be above zero"),
    "integers with tokens": ({"scheme": "integers"}, "token_ids: integers are spelt as the tokenizer does it"),
    "tokens without ids": ({"token_ids": None}, "token_ids: has 0 ids for 256 bins; name the token of every bin"),
    "one token too few": ({"token_ids": RARE_IDS[1:]}, "has 255 ids for 256 bins"),
    "a token twice": ({"token_ids": (*RARE_IDS[1:], RARE_IDS[1])}, f"{RARE_IDS[1]} stands for two bins"),
    "a token past the table": ({"token_ids": (*RARE_IDS[1:], VOCAB)}, rf"tokens \[{VOCAB}\] do not fit"),
    "a prompt of no instruction": ({"prompt": "go"}, "prompt: must have {instruction} once"),
    "a prompt of two": ({"prompt": "{instruction}{instruction}"}, "prompt: must have {instruction} once"),
    "a prompt with images": ({"prompt": "<image>{instruction}"}, "prompt: has <image>"),
    "a prompt with a state": ({"prompt": "{instruction} {state}"}, "prompt: has {state}"),
    "a prompt without room": ({"prompt": "abc {instruction}", "max_tokens": 6}, "max_tokens 6 leaves no room"),
    "a camera without picture": ({"cameras": {"a": [0, 3]}}, "cameras: 'a' of 0 x 3"),
    "a camera without name": ({"cameras": {"": [4, 3]}}, "cameras: '' of 4 x 3"),
    "a rate below zero": ({"fps": -2.0}, "fps: -2.0 is not a rate"),
}


@pytest.mark.parametrize("name", BAD_ACTIONS)
def test_an_action_config_that_cannot_be(tmp_path: Path, name: str) -> None:
    change, message = BAD_ACTIONS[name]
    with pytest.raises(CheckpointError, match=message) as error:
        read(tmp_path, **change)
    assert "\n" not in str(error.value)


BAD_PROCESSOR: dict[str, tuple[dict[str, Any], str]] = {
    "another size": ({"size": {"height": 224, "width": 224}}, "the vision tower takes 18 pixels square"),
    "another way to resize": ({"size": {"shortest_edge": 18}}, "the vision tower takes 18 pixels square"),
    "another filter": ({"resample": 0}, r"resample 0 is not exported; what is: 1 \(pil-lanczos\), 2"),
    "no resize": ({"do_resize": False}, "must be resized, rescaled"),
    "another scale": ({"rescale_factor": 1.0}, "must be resized, rescaled"),
    "no deviation": ({"image_std": [0.5, 0.0, 0.5]}, "no deviation of 0"),
    "one mean": ({"image_mean": [0.5]}, "Expected `array` of length 3"),
}


@pytest.mark.parametrize("name", BAD_PROCESSOR)
def test_an_image_processor_that_is_not_exported(tmp_path: Path, name: str) -> None:
    change, message = BAD_PROCESSOR[name]
    (write(tmp_path) / "preprocessor_config.json").write_text(json.dumps(change))
    with pytest.raises(CheckpointError, match=message):
        rt2.read(tmp_path, Options())


def _another_tokenizer(vocabulary: dict[str, int]) -> Callable[[Path], None]:
    def save(folder: Path) -> None:
        made = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
        made.decoder = decoders.Fuse()
        made.save(str(folder / "tokenizer.json"))

    return save


def _without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _adapters(folder: Path) -> None:
    _without("model.safetensors")(folder)
    (folder / "adapter_config.json").write_text("{}")


MARKS = {word: ID[word] for word in ("<pad>", "<eos>", "<bos>", "<unk>")}
BAD_FILES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no action_config.json": (_without("action_config.json"), r"action_config.json: no such file; .*docs/rt2.md"),
    "no tokenizer": (_without("tokenizer.json"), "tokenizer.json: no such file; .* --tokenizer"),
    "no weights": (_without("model.safetensors"), "model.safetensors: no such file"),
    "adapters alone": (_adapters, "there are adapters alone: merge them"),
    "no JSON": (lambda folder: (folder / "action_config.json").write_text("{"), "action_config.json: Input data"),
    "a tokenizer without marks": (_another_tokenizer({"<unk>": 0}), "has no <bos>"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_files_that_are_missing_or_of_something_else(tmp_path: Path, name: str) -> None:
    spoil, message = BAD_FILES[name]
    spoil(write(tmp_path))
    with pytest.raises(CheckpointError, match=message) as error:
        rt2.read(tmp_path, Options())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("words", "message"), [(MARKS, "cannot spell '0 0 0 1"), ({"<unk>": 0}, "has no <eos>")])
def test_a_tokenizer_without_digits_or_an_end(tmp_path: Path, words: dict[str, int], message: str) -> None:
    _another_tokenizer(words)(write(tmp_path, **INTEGERS))
    with pytest.raises(CheckpointError, match=message):
        rt2.read(tmp_path, Options())
