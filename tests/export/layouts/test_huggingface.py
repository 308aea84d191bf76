"""The Hugging Face layout of OpenVLA and OpenVLA-OFT: what it says is read, whatever is broken is one line."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file, save_file

from edge_runtime.bundle_spec import (
    BinScheme,
    CameraSpec,
    Normalisation,
    PolicySpec,
    PoseSpec,
    RegressionSpec,
    TokenSpec,
)
from edge_runtime.policies.affine import Affine
from edge_runtime.tokenizer import PromptTokenizer
from export.checkpoint import Checkpoint
from export.errors import CheckpointError
from export.image import ImageGraph, Preprocess
from export.layouts.conventions import BRIDGE, FRACTAL, LIBERO
from export.layouts.huggingface import read_openvla
from export.layouts.oft import ROBOTS
from export.layouts.options import Options
from tests.export import tiny_prismatic as tiny
from tests.export.edits import edit_json

SHARD = "model-00001-of-00002.safetensors"
HEAD, PROJECTOR = "action_head--20_checkpoint.pt", "proprio_projector--20_checkpoint.pt"
Edit = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pristine")
    return {"openvla": tiny.saved(folder / "openvla", tiny.openvla()), "oft": tiny.saved(folder / "oft", tiny.oft())}


@pytest.fixture
def openvla(pristine: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine["openvla"], tmp_path / "openvla"))


@pytest.fixture
def oft(pristine: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine["oft"], tmp_path / "oft"))


def read(folder: Path, **options: Any) -> Checkpoint:
    return read_openvla(folder, Options(**options))


def edit_weights(path: Path, change: Edit) -> None:
    tensors = load_file(path) if path.suffix == ".safetensors" else torch.load(path)
    change(tensors)
    (save_file if path.suffix == ".safetensors" else torch.save)(tensors, path)


def refused(folder: Path, *words: str, **options: Any) -> None:
    """Reading and loading fail with one line that says all of `words`."""
    with pytest.raises(CheckpointError) as caught:
        tiny.load(read(folder, **options))
    line = str(caught.value)
    assert "\n" not in line
    assert [word for word in words if word not in line] == [], line


def golden(shared: Path, name: str) -> Path:
    folder = shared / "golden" / "a" / name
    if not folder.is_dir():
        pytest.skip(f"no golden set: {folder} is not there")
    return folder


def test_an_openvla_is_read(openvla: Path) -> None:
    got = read(openvla)
    assert (got.family, got.layout, got.rate, got.tokenizer) == (
        "openvla",
        "huggingface",
        "assumed",
        openvla / "tokenizer.json",
    )
    assert got.config == tiny.CONFIG
    spec = got.spec
    assert spec.cameras == (CameraSpec("image", 0, 0, missing="refuse"),)
    assert (spec.state.dims, spec.state_normalisation.kind) == (0, "none")
    assert spec.action.names == ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
    high = tuple(0.5 + i for i in range(7))
    assert spec.action_normalisation == Normalisation("quantiles", (-1.0,) * 7, high, mask=(True,) * 6 + (False,))
    assert (spec.horizon, spec.head, spec.control_mode) == (1, TokenSpec(7, BinScheme()), "delta")
    assert (spec.prompt.bos_id, spec.prompt.pad_id, spec.prompt.end_id) == (1, tiny.PAD, tiny.EMPTY)
    assert spec.prompt.template.format(instruction="x") == "In: What action should the robot take to x?\nOut:"
    assert got.image == Preprocess(
        28, "pil-bicubic", "stretch", 1.0, ((0.1, 0.2, 0.3), (0.5,) * 3), ((0.5, 0.25, 0.125), (0.5,) * 3)
    )


def test_an_oft_is_read(oft: Path) -> None:
    got = read(oft, cameras={"front": (20, 30), "hand": (40, 50)})
    assert (got.family, got.config) == ("openvla_oft", tiny.OFT)
    spec = got.spec
    assert spec.cameras == (CameraSpec("front", 20, 30, "refuse"), CameraSpec("hand", 40, 50, "refuse"))
    assert (spec.horizon, spec.head) == (3, RegressionSpec())
    assert spec.state.names == tuple(f"state.{i}" for i in range(5))
    low, high = (-1.0,) * 5, tuple(0.5 + i for i in range(5))
    assert spec.state_normalisation == Normalisation("quantiles", low, high, 1e-8, 1e-8, clip=1.0)
    assert spec.action_normalisation == Normalisation("quantiles", low[:2], high[:2], 1e-8, 1e-8, (True, False))


@pytest.mark.parametrize("ddp", [True, False])
def test_weights_are_what_was_written(tmp_path: Path, ddp: bool) -> None:
    for model in (tiny.openvla(), tiny.oft(), tiny.oft(replace(tiny.OFT, state_dims=0))):
        folder = tiny.saved(tmp_path / str(len(list(tmp_path.iterdir()))), model, ddp=ddp)
        loaded = tiny.load(read(folder, cameras={"a": (9, 9)})).state_dict()
        assert loaded.keys() == model.state_dict().keys()
        for name, tensor in model.state_dict().items():
            assert torch.equal(loaded[name], tensor), name


def test_bfloat16_weights_are_read_as_float32(tmp_path: Path) -> None:
    model = tiny.openvla()
    loaded = tiny.load(read(tiny.saved(tmp_path / "half", model, torch.bfloat16)))
    assert torch.equal(loaded.state_dict()["head.weight"], model.head.weight.to(torch.bfloat16).float())


def test_one_file_of_weights_is_as_good_as_shards(openvla: Path) -> None:
    tensors = {name: t for shard in openvla.glob("model-*.safetensors") for name, t in load_file(shard).items()}
    for old in openvla.glob("model*"):
        old.unlink()
    save_file(tensors, openvla / "model.safetensors")
    assert torch.equal(tiny.load(read(openvla)).state_dict()["head.weight"], tiny.openvla().head.weight)


def test_golden_openvla(shared: Path) -> None:
    folder = golden(shared, "openvla_hf")
    got, io = read(folder / "checkpoint", dims=folder / "dims.json"), load_file(folder / "io.safetensors")
    assert got.spec.action_normalisation.mask == (True,) * 6 + (False,)
    assert (got.spec.action_normalisation.eps_in, got.spec.action_normalisation.eps_out) == (0.0, 0.0)
    assert (got.spec.prompt.pad_id, got.spec.prompt.end_id, list(got.config.tokens)[::255]) == (768, 301, [512, 767])
    assert got.config.language.norm_eps == 1e-6
    prompt = PromptTokenizer(got.tokenizer, got.spec.prompt).encode("Pick up the cup")
    assert prompt.tokens[prompt.mask].tolist() == io["in.input_ids_used"][0].tolist()
    torch.testing.assert_close(pixels(got, io["in.image_u8"]), io["in.pixel_values"][:, None], rtol=0, atol=1e-6)
    assert torch.equal(actions(got, io["out.action_norm"]), io["out.action"])


def pixels(got: Checkpoint, *frames: torch.Tensor) -> torch.Tensor:
    cameras = {f"{i}": (frame.shape[0], frame.shape[1]) for i, frame in enumerate(frames)}
    seen: torch.Tensor = ImageGraph(cameras, got.image)(*frames)
    return seen


def actions(got: Checkpoint, normalised: torch.Tensor) -> torch.Tensor:
    out = torch.zeros(normalised.shape, dtype=torch.float64)
    rows = out.shape[0] if out.ndim > 1 else None
    Affine(got.spec.action_normalisation, out.shape[-1], rows).back(normalised.numpy(), out.numpy())
    return out


def test_golden_oft(shared: Path, tmp_path: Path) -> None:
    """LIBERO's constants are known by the head files' shapes; the base model's statistics are replaced."""
    folder = golden(shared, "openvla_oft")
    words = tiny.tokenizer(tmp_path / "tokenizer.json")
    dims = json.loads((folder / "dims.json").read_text())
    for known in ("robot", "chunk", "action_dim", "proprio_dim", "images"):
        del dims[known]
    (tmp_path / "dims.json").write_text(json.dumps(dims))
    spec = read(folder / "checkpoint", dims=tmp_path / "dims.json", tokenizer=words).spec
    assert (spec.horizon, spec.action.dims, spec.state.dims) == (8, 7, 8)
    assert [camera.name for camera in spec.cameras] == ["image", "wrist"]
    assert spec.action_normalisation.a[0] == -0.37959186375387327
    whole = read(folder / "checkpoint", dims=folder / "dims.json", tokenizer=words)
    io = load_file(folder / "io.safetensors")
    assert [(c.name, c.height, c.width) for c in whole.spec.cameras] == [("image", 60, 80), ("wrist", 50, 50)]
    seen = pixels(whole, io["in.image_u8.0"], io["in.image_u8.1"])
    torch.testing.assert_close(seen.flatten(1, 2), io["in.pixel_values"], rtol=0, atol=1e-6)
    torch.testing.assert_close(actions(whole, io["out.action_norm"]), io["out.action"], rtol=0, atol=1e-7)
    state = torch.zeros(8, dtype=torch.float64)
    Affine(whole.spec.state_normalisation, 8).forth(io["in.proprio_raw"].numpy(), state.numpy())
    torch.testing.assert_close(state, io["in.proprio_norm"], rtol=0, atol=1e-15)


def test_statistics_beside_the_weights_replace_the_base_models(openvla: Path) -> None:
    refused(openvla, "dataset_statistics.json", "no statistics of 'base'", "tiny", statistics="base")
    (openvla / "dataset_statistics.json").unlink()
    assert read(openvla, statistics="base").spec.action.dims == 7
    refused(openvla, "config.json", "no statistics of 'tiny'", "base", statistics="tiny")


def test_of_several_robots_one_must_be_chosen(openvla: Path) -> None:
    edit_json(openvla / "dataset_statistics.json", lambda all: all.update(more=all["tiny"], less=all["tiny"]))
    refused(openvla, "less, more, tiny", "--statistics")
    refused(openvla, "'mroe'", "less, more, tiny", statistics="mroe")
    assert read(openvla, statistics="more").spec.action.dims == 7


def test_every_action_is_normalised_where_there_is_no_mask(openvla: Path) -> None:
    edit_json(openvla / "dataset_statistics.json", lambda all: all["tiny"]["action"].pop("mask"))
    assert read(openvla).spec.action_normalisation.mask == ()


def test_what_the_reference_normalises_pixels_with_goes_first(openvla: Path) -> None:
    rows = [{"mean": [0.11, 0.2, 0.3], "std": [0.5] * 3, "inplace": False}] * 2
    edit_json(openvla / "preprocessor_config.json", lambda config: config.update(tvf_normalize_params=rows))
    assert read(openvla).image.mean == ((0.11, 0.2, 0.3),) * 2


def test_a_fine_tune_is_evaluated_with_lanczos_and_a_crop(openvla: Path) -> None:
    assert (read(openvla, crop=True).image.filter, read(openvla, crop=True).image.crop) == ("tf-lanczos", 0.9)


def test_options_go_first(openvla: Path, tmp_path: Path) -> None:
    words = tiny.tokenizer(tmp_path / "words.json")
    got = read(openvla, max_tokens=40, fps=10.0, tokenizer=words, cameras={"front": (4, 6)})
    assert (got.spec.prompt.max_tokens, got.spec.dt_s, got.rate, got.tokenizer) == (40, 0.1, "given", words)
    assert got.spec.cameras == (CameraSpec("front", 4, 6, "refuse"),)


def test_newest_head_files_are_taken(oft: Path) -> None:
    for name in (HEAD, PROJECTOR):
        shutil.copy(oft / name, oft / name.replace("20", "latest"))
    edit_weights(oft / HEAD.replace("20", "latest"), lambda head: head["module.model.fc2.bias"].fill_(0.125))
    loaded = tiny.load(read(oft, cameras={"a": (9, 9)})).state_dict()
    assert loaded["action_head.fc2.bias"].tolist() == [0.125] * 2


def robot(oft: Path, **changes: Any) -> PolicySpec:
    edit_json(oft / "dims.json", lambda dims: dims.update(changes))
    return read(oft).spec


def test_a_robot_brings_its_constants(oft: Path) -> None:
    aloha = robot(oft, robot="ALOHA", chunk=None)
    assert (aloha.horizon, aloha.control_mode, round(1 / aloha.dt_s)) == (25, "absolute", 25)
    assert (aloha.action_normalisation.kind, aloha.state_normalisation.a) == ("min_max", (-2.0,) * 5)
    assert [camera.name for camera in aloha.cameras] == ["image", "left_wrist", "right_wrist"]
    libero = robot(oft, robot="libero", chunk=4, images=[[3, 4]])
    assert (libero.horizon, libero.action_normalisation.kind) == (4, "quantiles")
    assert libero.cameras == (CameraSpec("image", 3, 4, "refuse"),)
    assert {name: (r.horizon, len(r.action), len(r.state)) for name, r in ROBOTS.items()} == {
        "libero": (8, 7, 8),
        "aloha": (25, 14, 14),
        "bridge": (5, 7, 7),
    }


@pytest.mark.parametrize(
    ("name", "known"),
    [("bridge_orig", BRIDGE), ("fractal20220817_data", FRACTAL), ("libero_spatial_no_noops", LIBERO), ("toto", None)],
)
def test_the_name_of_the_statistics_says_what_actions_mean(openvla: Path, name: str, known: PoseSpec | None) -> None:
    edit_json(openvla / "dataset_statistics.json", lambda told: told.update({name: told.pop("tiny")}))
    spec = read(openvla).spec
    assert spec.pose == (None if known is None else msgspec.structs.replace(known, state=None))
    assert spec.control_mode == "delta"


def test_dims_say_whose_data_it_was_where_the_name_does_not(openvla: Path) -> None:
    assert read(openvla).spec.pose is None
    edit_json(openvla / "dims.json", lambda dims: dims.update(robot="bridge"))
    assert read(openvla).spec.pose == msgspec.structs.replace(BRIDGE, state=None)


def test_a_fine_tune_has_its_robots_convention_with_the_state(tmp_path: Path) -> None:
    libero = tiny.saved(tmp_path / "libero", tiny.oft(replace(tiny.OFT, action_dims=7, state_dims=8)))
    edit_json(libero / "dims.json", lambda dims: dims.update(robot="libero", action_dim=7, proprio_dim=8))
    assert read(libero).spec.pose == LIBERO
    edit_json(libero / "dims.json", lambda dims: dims.update(robot="bridge"))  # which has no state of eight numbers
    assert read(libero).spec.pose is None


def test_what_no_file_tells_must_be_given(oft: Path) -> None:
    refused(oft, "no file says how many images", "--camera")
    refused(oft, "robot 'r2d2' is unknown", "libero, aloha, bridge", dims=changed_dims(oft, robot="r2d2"))
    refused(oft, "how long a chunk of 2 dimensions with 5 of state", "--dims", dims=changed_dims(oft, chunk=None))
    seen = changed_dims(oft, robot="libero")
    refused(oft, "2 cameras, image, wrist", "--camera", dims=seen, cameras={"front": (4, 4)})
    sizes = read(oft, dims=seen, cameras={"wrist": (4, 5)}).spec.cameras
    assert [(c.name, c.height, c.width) for c in sizes] == [("image", 0, 0), ("wrist", 4, 5)]


def changed_dims(folder: Path, **changes: Any) -> Path:
    path = folder / f"dims-{'-'.join(changes)}.json"
    path.write_text(json.dumps({**tiny.DIMS, **changes}))
    return path


def test_head_files_must_belong_together(oft: Path) -> None:
    (oft / PROJECTOR).rename(oft / PROJECTOR.replace("20", "5"))
    refused(oft, HEAD, "proprio_projector of that step is missing", "proprio_projector--5")
    for head in oft.glob("action_head*"):
        head.unlink()
    refused(oft, "proprio_projector--5", "no action_head")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("noisy_action_projector--20_checkpoint.pt", "diffusion"),
        ("vision_backbone--20_checkpoint.pt", "FiLM"),
        ("adapter_config.json", "merged"),
    ],
)
def test_other_kinds_of_fine_tunes_are_named(oft: Path, name: str, words: str) -> None:
    (oft / name).write_bytes(b"")
    refused(oft, name, words)


def test_a_diffusion_head_is_named(oft: Path) -> None:
    torch.save({"noise_predictor.mlp_resnet.fc2.weight": torch.zeros(2, 2)}, oft / HEAD)
    refused(oft, HEAD, "diffusion")


def test_adapters_alone_are_named(openvla: Path) -> None:
    for file in openvla.glob("model*"):
        file.unlink()
    refused(openvla, "model.safetensors.index.json", "no such file")
    (openvla / "lora_adapter").mkdir()
    refused(openvla, "adapters alone")


class Malicious:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.environ["TINY_TRAP"],)


def test_a_head_file_never_runs_code(oft: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trap = tmp_path / "trap"
    monkeypatch.setenv("TINY_TRAP", str(trap))
    torch.save({"model.fc2.weight": torch.zeros(2, 2), "model.fc2.bias": Malicious()}, oft / HEAD)
    refused(oft, HEAD, "plain tensors", cameras={"a": (9, 9)})
    assert not trap.exists()
    torch.load(oft / HEAD, weights_only=False)
    assert trap.exists()  # the trap would have worked


BROKEN: dict[str, tuple[str, Callable[[Path], object], tuple[str, ...]]] = {
    "no shard": ("openvla", lambda f: (f / SHARD).unlink(), ("index.json", SHARD)),
    "a shard cut short": ("openvla", lambda f: os.truncate(f / SHARD, 5000), (SHARD, "copy it again")),
    "a tensor too few": (
        "openvla",
        lambda f: edit_weights(f / SHARD, lambda w: w.pop("language_model.model.norm.weight")),
        (SHARD, "lacks language_model.model.norm.weight"),
    ),
    "a tensor of no index": (
        "openvla",
        lambda f: edit_json(f / "model.safetensors.index.json", lambda i: i["weight_map"].pop("projector.fc1.bias")),
        ("lacks tensor projector.fc1.bias",),
    ),
    "a tensor too many": (
        "openvla",
        lambda f: add_tensor(f, "vision_backbone.featurizer.blocks.0.attn.q_norm.weight"),
        ("unexpected tensor vision_backbone.featurizer.blocks.0.attn.q_norm.weight",),
    ),
    "a block too many": (
        "openvla",
        lambda f: add_tensor(f, "vision_backbone.fused_featurizer.blocks.2.norm1.weight"),
        ("fused_featurizer has 3 blocks, the sizes say 2", "--dims"),
    ),
    "a head's tensor too many": (
        "oft",
        lambda f: edit_weights(f / HEAD, lambda w: w.update({"module.model.fc9.bias": torch.zeros(2)})),
        ("unexpected tensor model.fc9.bias",),
    ),
    "a head's tensor too few": (
        "oft",
        lambda f: edit_weights(f / HEAD, lambda w: w.pop("module.model.fc1.bias")),
        ("lacks tensor model.fc1.bias",),
    ),
    "no head's matrix": (
        "oft",
        lambda f: edit_weights(f / HEAD, lambda w: w.pop("module.model.fc2.weight")),
        (HEAD, "model.fc2.weight"),
    ),
    "another robot's statistics": (
        "oft",
        lambda f: edit_json(
            f / "dataset_statistics.json", lambda s: s["tiny"]["action"].update(q01=[0], q99=[1], mask=[True])
        ),
        ("action has 1 dimensions, the head files 2",),
    ),
    "no state's statistics": (
        "oft",
        lambda f: edit_json(f / "dataset_statistics.json", lambda s: s["tiny"].pop("proprio")),
        ("has no proprio",),
    ),
    "statistics cut short": (
        "openvla",
        lambda f: edit_json(f / "dataset_statistics.json", lambda s: s["tiny"]["action"]["q99"].pop()),
        ("dataset_statistics.json: tiny", "7 q01, 6 q99"),
    ),
    "no action's statistics": (
        "openvla",
        lambda f: edit_json(f / "dataset_statistics.json", lambda s: s["tiny"].pop("action")),
        ("tiny", "action"),
    ),
    "no statistics": (
        "openvla",
        lambda f: (f / "dataset_statistics.json").write_text("{}"),
        ("has no statistics", "dataset_statistics.json"),
    ),
    "other sizes": (
        "openvla",
        lambda f: edit_json(f / "config.json", lambda c: c["text_config"].update(intermediate_size=50)),
        ("mlp", "the sizes say", "--dims"),
    ),
    "no dims": ("openvla", lambda f: (f / "dims.json").unlink(), ("empty_token 29871", "--dims")),
    "impossible sizes": (
        "openvla",
        lambda f: edit_json(f / "config.json", lambda c: c["text_config"].update(num_attention_heads=5)),
        ("config.json: with these sizes", "5 heads"),
    ),
    "no heads": (
        "openvla",
        lambda f: edit_json(f / "config.json", lambda c: c["text_config"].update(num_attention_heads=0)),
        ("config.json", "num_attention_heads"),
    ),
    "another language model": (
        "openvla",
        lambda f: edit_json(f / "config.json", lambda c: c["text_config"].update(model_type="mistral")),
        ("no plain Llama",),
    ),
    "another vision tower": (
        "openvla",
        lambda f: edit_json(f / "config.json", lambda c: c.update(timm_model_ids=["vit_base_patch16_clip_224.openai"])),
        ("vit_base_patch16_clip_224", "DINOv2 with SigLIP"),
    ),
    "two image sizes": (
        "openvla",
        lambda f: edit_json(f / "config.json", lambda c: c.update(image_sizes=[28, 42])),
        ("image_sizes is [28, 42]",),
    ),
    "another activation": (
        "openvla",
        lambda f: edit_json(f / "config.json", lambda c: c.update(timm_override_act_layers=[None, "quick_gelu"])),
        ("timm_override_act_layers",),
    ),
    "another resize": (
        "openvla",
        lambda f: edit_json(f / "preprocessor_config.json", lambda c: c.update(image_resize_strategy="letterbox")),
        ("preprocessor_config.json", "'letterbox'", "resize-naive"),
    ),
    "pixels for one tower": (
        "openvla",
        lambda f: edit_json(f / "preprocessor_config.json", lambda c: c.update(means=[[0.5] * 3], stds=[[0.5] * 3])),
        ("normalises for 1",),
    ),
    "deviations of zero": (
        "openvla",
        lambda f: edit_json(f / "preprocessor_config.json", lambda c: c.update(stds=[[0.0] * 3] * 2)),
        ("preprocessor_config.json", "deviation of 0"),
    ),
    "no preprocessor": (
        "openvla",
        lambda f: (f / "preprocessor_config.json").unlink(),
        ("preprocessor_config.json", "cannot be read"),
    ),
    "no JSON": ("openvla", lambda f: (f / "config.json").write_text("{"), ("config.json",)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_named(name: str, pristine: dict[str, Path], tmp_path: Path) -> None:
    kind, spoil, words = BROKEN[name]
    folder = Path(shutil.copytree(pristine[kind], tmp_path / kind))
    spoil(folder)
    refused(folder, *words, cameras={"a": (9, 9)})


def add_tensor(folder: Path, name: str) -> None:
    edit_weights(folder / SHARD, lambda w: w.update({name: torch.zeros(1)}))
    edit_json(folder / "model.safetensors.index.json", lambda i: i["weight_map"].update({name: SHARD}))
