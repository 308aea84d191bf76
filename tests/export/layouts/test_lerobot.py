"""The lerobot layout: what is read back is what was written, and every way of being broken is one line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file, save_file

from edge_runtime.bundle_spec import Normalisation
from export import layouts
from export.checkpoint import Checkpoint
from export.errors import CheckpointError, ExportError
from export.layouts.options import Options
from export.lerobot_save import save_lerobot
from export.loading import load_model
from export.models.decoder import GEMMA
from export.models.vit import SIGLIP
from tests.export import tiny
from tests.export.edits import edit_json, edit_tensors

HEAD = "model.paligemma_with_expert.paligemma.lm_head.weight"
TABLE = "model.paligemma_with_expert.paligemma.model.language_model.embed_tokens.weight"
STATE_STATS = "policy_preprocessor_step_5_normalizer_processor.safetensors"


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.saved(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def checkpoint(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "checkpoint"))


def read(checkpoint: Path, **options: Any) -> Checkpoint:
    """Everything of a checkpoint but its weights."""
    return layouts.read(checkpoint, Options(**options))


def weights_of(checkpoint: Path) -> dict[str, torch.Tensor]:
    """The model's weights by our own names."""
    return load_model(read(checkpoint)).state_dict()


def test_what_was_written_is_read(pristine: Path) -> None:
    got = read(pristine)
    assert (got.family, got.layout, got.rate, got.time) == ("pi0", "lerobot", "checkpoint", "fraction")
    assert (got.config, got.spec, got.tokenizer) == (tiny.CONFIG, tiny.spec(), pristine / "tokenizer.json")
    loaded = weights_of(pristine)
    for name, tensor in tiny.model().state_dict().items():
        assert torch.equal(loaded[name], tensor), name


def test_bfloat16_weights_are_read_as_float32(tmp_path: Path) -> None:
    out = tiny.saved(tmp_path, torch.bfloat16)
    stored = load_file(out / "model.safetensors")
    assert {t.dtype for t in stored.values()} == {torch.bfloat16}
    assert torch.equal(weights_of(out)["language.embed_tokens.weight"], stored[TABLE].float())


def test_a_vector_may_go_without_statistics(tmp_path: Path) -> None:
    bare = msgspec.structs.replace(tiny.spec(), action_normalisation=Normalisation("none"))
    out = save_lerobot(tiny.model(), bare, tiny.tokenizer(tmp_path / "tokenizer.json"), tmp_path / "bare")
    assert read(out).spec == bare


def test_the_token_table_is_embed_tokens_and_lm_head_only_where_that_is_absent(checkpoint: Path) -> None:
    edit_weights(checkpoint, lambda w: w.update({HEAD: w[HEAD] + 1}))
    table = tiny.model().language.embed_tokens.weight
    assert torch.equal(weights_of(checkpoint)["language.embed_tokens.weight"], table)
    edit_weights(checkpoint, lambda w: w.pop(TABLE))
    assert torch.equal(weights_of(checkpoint)["language.embed_tokens.weight"], table + 1)


def test_empty_cameras_are_left_out(checkpoint: Path) -> None:
    empty = {"observation.images.empty_camera_0": {"type": "VISUAL", "shape": [3, 18, 18]}}
    edit_json(checkpoint / "config.json", lambda c: c["input_features"].update(empty))
    assert [camera.name for camera in read(checkpoint).spec.cameras] == ["base", "wrist"]


def test_published_variants_need_no_dims(checkpoint: Path) -> None:
    (checkpoint / "dims.json").unlink()
    edit_json(checkpoint / "config.json", lambda c: c.update(image_resolution=[224, 224]))
    config = read(checkpoint).config
    assert (config.vision, config.language) == (SIGLIP["so400m"], GEMMA["gemma_2b"])
    assert (config.expert, config.vocab) == (GEMMA["gemma_300m"], 257152)


def edit_weights(checkpoint: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    edit_tensors(checkpoint / "model.safetensors", change)


def config(**fields: Any) -> Callable[[Path], None]:
    return lambda c: edit_json(c / "config.json", lambda content: content.update(fields))


def feature(side: str, name: str, shape: list[int]) -> Callable[[Path], None]:
    return lambda c: edit_json(c / "config.json", lambda content: content[side][name].update(shape=shape))


def dims(part: str, **fields: Any) -> Callable[[Path], None]:
    return lambda c: edit_json(c / "dims.json", lambda content: content[part].update(fields))


def weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    return lambda c: edit_weights(c, change)


def cut(name: str, keep: float) -> Callable[[Path], None]:
    def change(checkpoint: Path) -> None:
        path = checkpoint / name
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])

    return change


def normaliser(mode: str) -> Callable[[Path], None]:
    def change(content: dict[str, Any]) -> None:
        content["steps"][-1]["config"]["norm_map"]["STATE"] = mode

    return lambda c: edit_json(c / "policy_preprocessor.json", change)


def statistics(file: str, name: str, value: torch.Tensor) -> Callable[[Path], None]:
    return lambda c: save_file({**load_file(c / file), name: value}, c / file)


def poison(w: dict[str, torch.Tensor]) -> None:
    w["model.state_proj.bias"][0] = float("nan")


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no directory": (shutil.rmtree, r"checkpoint: no such directory"),
    "no config": (lambda c: (c / "config.json").unlink(), r"config\.json: cannot be read"),
    "no type": (
        lambda c: edit_json(c / "config.json", lambda j: [j.pop(n) for n in ("type", "paligemma_variant")]),
        "has none of type, model_type, paligemma_variant",
    ),
    "unknown type": (config(type="pi7"), r"config\.json: type 'pi7' is unknown; this export knows pi0"),
    "no JSON": (lambda c: (c / "config.json").write_text("{"), r"config\.json: Input data was truncated"),
    "no UTF-8": (lambda c: (c / "config.json").write_bytes(b'{"type": "\xff"}'), r"config\.json: .*decode byte"),
    "wrong kind of field": (
        config(chunk_size="many"),
        r"config\.json: Expected `int`, got `str` - at `\$\.chunk_size`",
    ),
    "no actions": (config(chunk_size=0), r"config\.json: .*chunk_size must be above zero"),
    "no steps": (config(num_inference_steps=0), "steps and chunk_size must be above zero"),
    "several steps seen": (config(n_obs_steps=2), "n_obs_steps is 2"),
    "unknown variant": (
        lambda c: (config(paligemma_variant="gemma_9b")(c), edit_json(c / "dims.json", lambda d: d.pop("vlm"))),
        "paligemma_variant 'gemma_9b' is unknown; known are gemma_2b, gemma_300m",
    ),
    "other image size": (
        config(image_resolution=[18, 24]),
        r"image_resolution is \[18, 24\], the vision tower takes 18",
    ),
    "no camera": (
        lambda c: edit_json(
            c / "config.json", lambda j: [j["input_features"].pop(f"observation.images.{n}") for n in ("base", "wrist")]
        ),
        "has no camera",
    ),
    "grey camera": (feature("input_features", "observation.images.base", [1, 9, 9]), r"expected \[3, height, width\]"),
    "no state": (
        lambda c: edit_json(c / "config.json", lambda j: j["input_features"].pop("observation.state")),
        "no feature",
    ),
    "too much state": (
        feature("input_features", "observation.state", [9]),
        r"\[9\], expected \[n\] with n from 1 to 8",
    ),
    "names too few": (config(action_feature_names=["dx"]), "1 names for 3 dimensions"),
    "neither preprocessor nor buffers": (
        lambda c: (c / "policy_preprocessor.json").unlink(),
        r"model\.safetensors: lacks normalize_inputs\.buffer_observation_state\.mean",
    ),
    "no normaliser": (
        lambda c: edit_json(c / "policy_preprocessor.json", lambda j: j["steps"].pop()),
        r"policy_preprocessor\.json: no step normalizer_processor",
    ),
    "other normalisation": (normaliser("RANKS"), r"normalises observation\.state by RANKS; known are IDENTITY, MEAN"),
    "other statistics": (normaliser("QUANTILES"), r"lacks observation\.state\.q01"),
    "statistics elsewhere": (
        lambda c: edit_json(
            c / "policy_preprocessor.json", lambda j: j["steps"][-1].update(state_file="../x.safetensors")
        ),
        "is not a file of statistics beside it",
    ),
    "no statistics": (lambda c: (c / STATE_STATS).unlink(), f"{STATE_STATS}: no such file"),
    "short statistics": (
        statistics(STATE_STATS, "observation.state.mean", torch.zeros(2)),
        r"observation\.state\.mean has shape \[2\], expected 3 finite numbers",
    ),
    "infinite statistics": (
        statistics(STATE_STATS, "observation.state.std", torch.full((3,), torch.inf)),
        r"observation\.state\.std .*expected 3 finite numbers",
    ),
    "no tokenizer": (lambda c: (c / "tokenizer.json").unlink(), r"tokenizer\.json: no such file.*--tokenizer"),
    "no weights": (lambda c: (c / "model.safetensors").unlink(), r"model\.safetensors: no such file"),
    "half the weights": (cut("model.safetensors", 0.5), r"model\.safetensors: not a complete safetensors file"),
    "half a header": (cut("model.safetensors", 0.01), r"model\.safetensors: not a complete safetensors file"),
    "empty weights": (cut("model.safetensors", 0.0), r"model\.safetensors: not a complete safetensors file"),
    "a pickle": (
        lambda c: torch.save({"model.state_proj.bias": torch.zeros(12)}, c / "model.safetensors"),
        r"model\.safetensors: not a complete safetensors file",
    ),
    "a tensor missing": (weights(lambda w: w.pop("model.state_proj.bias")), r"lacks tensor model\.state_proj\.bias$"),
    "many missing": (weights(lambda w: [w.pop(n) for n in sorted(w)[:5]]), r"lacks tensors .*, .*, .* and 2 more$"),
    "a tensor too many": (
        weights(lambda w: w.update({"model.value_head.weight": torch.zeros(2)})),
        r"has unexpected tensor model\.value_head\.weight$",
    ),
    "a wrong shape": (
        weights(lambda w: w.update({"model.state_proj.bias": torch.zeros(7)})),
        r"model\.state_proj\.bias has shape \[7\], the sizes say \[12\]",
    ),
    "not a number": (weights(poison), r"model\.state_proj\.bias has values that are not finite"),
    "other sizes": (dims("vlm", mlp_dim=25), r"mlp\.gate_proj\.weight has shape \[24, 16\], the sizes say \[25, 16\]"),
    "impossible sizes": (dims("vlm", num_kv_heads=3), r"dims\.json: 4 heads must divide into 3"),
    "sizes that do not fit": (dims("expert", head_dim=6), r"head_dim differs between language model and expert"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken(checkpoint: Path, case: str) -> None:
    change, words = BROKEN[case]
    change(checkpoint)
    with pytest.raises(CheckpointError, match=words) as caught:
        weights_of(checkpoint)
    assert "\n" not in str(caught.value)
    assert str(checkpoint) in str(caught.value)


def test_a_failed_save_leaves_the_old_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    before = {p.name: p.read_bytes() for p in checkpoint.iterdir()}
    with pytest.raises(FileNotFoundError):
        save_lerobot(tiny.model(seed=1), tiny.spec(), tmp_path / "gone.json", checkpoint)
    assert {p.name: p.read_bytes() for p in checkpoint.iterdir()} == before
    assert {p.name for p in tmp_path.iterdir()} == {"checkpoint"}


def test_a_checkpoint_is_never_written_over_something_else(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "thesis.txt").touch()
    with pytest.raises(ExportError, match=r"has no config\.json"):
        save_lerobot(tiny.model(), tiny.spec(), tmp_path / "tokenizer.json", tmp_path / "x")
