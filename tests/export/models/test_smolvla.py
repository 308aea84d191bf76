"""SmolVLA: every tensor of the reference set, and what holds whatever the weights: masks, causality, both caches."""

from __future__ import annotations

import json
import sys
import types
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from edge_runtime.bundle_spec import CameraSpec, FlowSpec, Normalisation, PolicySpec, PromptSpec, VectorSpec
from export.checkpoint import Checkpoint
from export.image import Preprocess
from export.models.common import positions_of, rotary, rotate
from export.models.flow import flow_times
from export.models.smolvla import FAMILY, HEAD, TABLE, SmolVla, SmolVlaConfig, actions_see, decoders, prefix_sees
from export.models.smolvlm import SMOLVLM, ImageMarks, pixel_shuffle, smollm
from export.models.vit import VitConfig
from export.stored import Stored, open_safetensors
from export.tracing import traced
from export.weights import bind, fill

LANGUAGE, EXPERT = decoders(smollm(24, 5, 40, 6, 2, 8), layers=4, expert_layers=-1, multiplier=0.75)
CONFIG = SmolVlaConfig(
    vision=VitConfig(hidden=20, layers=2, heads=2, mlp=32, patch=6, image=36),
    language=LANGUAGE,
    expert=EXPERT,
    scale_factor=3,
    vocab=53,
    horizon=5,
    state_padded=8,
    action_padded=9,
)
"""Unlike the reference set in every size: one language layer is cut off, and padded widths differ."""
MARKS = ImageMarks(around=3, whole=4)


def model(seed: int = 0, **changes: object) -> SmolVla:
    """Random weights, none of them left at zero or one. The same seed gives the same, whatever `changes`."""
    torch.manual_seed(seed)
    made = SmolVla(replace(CONFIG, **changes))  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return made.eval()


def inputs(seed: int = 1) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    size = CONFIG.vision.image
    return {
        "pixels": torch.rand(1, 2, 3, size, size, generator=g) * 2 - 1,
        "camera_mask": torch.tensor([[True, True]]),
        "tokens": torch.randint(5, CONFIG.vocab, (1, 6), generator=g),
        "token_mask": torch.tensor([[True] * 4 + [False] * 2]),
        "state": torch.randn(1, CONFIG.state_padded, generator=g),
    }


def noise(seed: int = 7) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(1, CONFIG.horizon, CONFIG.action_padded, generator=g)


def prefix(made: SmolVla, given: dict[str, Tensor]) -> dict[str, Tensor]:
    return dict(zip(made.config.written, made.prefix(**given), strict=True))


def velocity(made: SmolVla, given: dict[str, Tensor], x: Tensor | None = None) -> Tensor:
    written = prefix(made, given)
    read = {name: written[name] for name in made.config.read}
    return made.velocity(x_t=noise() if x is None else x, cond=made.cond(torch.tensor([0.3])), **read)


# the reference set


@cache
def golden(folder: Path) -> tuple[SmolVla, dict[str, Tensor]]:
    """The reference's checkpoint in our module, and what the reference made of it.

    Its text model has Llama's epsilon, 1e-6; published SmolVLMs have 1e-5, which moves a chunk by 8e-5.
    """
    dims = json.loads((folder / "dims.json").read_text())
    v, t = dims["vision"], dims["vlm"]
    vlm = smollm(
        t["hidden"], t["layers_in_vlm_config"], t["mlp"], t["heads"], t["kv_heads"], t["head_dim"], norm_eps=1e-6
    )
    language, expert = decoders(vlm, t["layers_used"], -1, dims["expert_width_multiplier"])
    config = SmolVlaConfig(
        VitConfig(v["hidden"], v["layers"], v["heads"], v["mlp"], v["patch"], v["image"]),
        language,
        expert,
        dims["scale_factor"],
        dims["vocab"],
        dims["chunk"],
        dims["max_state"],
        dims["max_action"],
        dims["self_attn_every_n_layers"],
    )
    stored = open_safetensors(folder / "checkpoint/model.safetensors")
    return load(config, stored, "model."), load_file(folder / "io.safetensors")


def load(config: SmolVlaConfig, stored: Stored, lead: str) -> SmolVla:
    with torch.device("meta"):
        made = SmolVla(config)
    names = frozenset(name.removeprefix(lead) for name in stored.names)
    weights = bind(
        made,
        stored,
        lambda name, _: replace((place := FAMILY.source(name, names, config)), name=lead + place.name),
        lambda name: FAMILY.unused(name.removeprefix(lead)),
    )
    return fill(made, weights).requires_grad_(False).eval()


def golden_inputs(io: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        "pixels": io["in.images"],
        "camera_mask": io["in.image_masks"],
        "tokens": io["in.tokens"],
        "token_mask": io["in.token_mask"],
        "state": io["in.state_padded"],
    }


def near(got: Tensor, wanted: Tensor, atol: float = 1e-5) -> None:
    torch.testing.assert_close(got, wanted, rtol=0, atol=atol)


@torch.no_grad()
def test_the_prefix_is_the_references(shared: Path) -> None:
    made, io = golden(shared / "golden/a/smolvla_lerobot")
    embeddings, mask = made.embed_prefix(**golden_inputs(io))
    near(embeddings, io["mid.prefix_embs"], 4e-5)  # they are up to 34: times sqrt(width)
    valid = mask[0]
    assert positions_of(mask)[0, valid].tolist() == io["mid.prefix_position_ids"][0, valid].tolist()
    seen = prefix_sees(mask)[:, valid]
    assert torch.equal(seen, io["mid.prefix_attn_mask"][:, valid])  # the reference also blinds tokens that nobody sees
    written = prefix(made, golden_inputs(io))
    assert torch.equal(written["prefix_mask"], mask)
    for i in range(made.config.language.depth):
        for name, wanted in (("keys", io[f"out.kv.layer{i}.key"]), ("values", io[f"out.kv.layer{i}.value"])):
            near(written[name][i][:, :, valid], wanted[:, :, valid])


@torch.no_grad()
def test_every_step_and_the_chunk_are_the_references(shared: Path) -> None:
    made, io = golden(shared / "golden/a/smolvla_lerobot")
    written, x = prefix(made, golden_inputs(io)), io["in.noise"]
    assert torch.equal(actions_see(written["prefix_mask"], x.shape[1]), io["mid.suffix_attn_mask"].bool())
    cond = made.cond(flow_times(len(io["out.velocities"]), "fraction"))
    near(made.embed_suffix(x, cond[:1]), io["mid.suffix_embs_step0"], 5e-6)
    for row, wanted in zip(cond, io["out.velocities"], strict=True):
        v = made.velocity(x_t=x, cond=row[None], **written)
        near(v, wanted)
        x = x - v / len(cond)
    near(x, io["out.action_norm_padded"])


def test_no_tensor_of_the_checkpoint_is_unaccounted_for(shared: Path) -> None:
    made, _ = golden(shared / "golden/a/smolvla_lerobot")
    stored = open_safetensors(shared / "golden/a/smolvla_lerobot/checkpoint/model.safetensors")
    names = frozenset(name.removeprefix("model.") for name in stored.names)
    taken = {FAMILY.source(name, names, made.config).name for name in made.state_dict()}
    assert names - taken == {HEAD}
    assert taken < names


# whatever the weights


def plain_velocity(made: SmolVla, written: dict[str, Tensor], x: Tensor, cond: Tensor) -> Tensor:
    """The expert written out as the paper has it: nothing hoisted, K/V repeated per head, masks of -inf."""
    c, mask = made.config.expert, written["prefix_mask"]
    h = made.embed_suffix(x, cond)
    steps, start = torch.arange(x.shape[1]), int(mask.sum())
    for i, layer in enumerate(made.expert.layers):
        attention, y = layer.self_attn, layer.input_layernorm(h)
        cross = i in made.config.cross_layers
        table = rotary((steps if cross else start + steps)[None].float(), c.head_dim)
        k, v = (written[name][i][0].transpose(0, 1).flatten(1) for name in ("keys", "values"))  # [L, K·D]
        sees = mask[0].expand(x.shape[1], -1)
        if cross:
            k, v = attention.k_proj(k), attention.v_proj(v)
        else:
            own = attention.k_proj(y).unflatten(-1, (-1, c.head_dim))
            k = torch.cat([k, rotate(own, table)[0].flatten(1)])
            v = torch.cat([v, attention.v_proj(y)[0]])
            sees = torch.cat([sees, torch.ones(x.shape[1], x.shape[1]).tril().bool()], dim=1)
        q = rotate(attention.q_proj(y).unflatten(-1, (-1, c.head_dim)), table)[0].transpose(0, 1)  # [heads, H, D]
        k, v = (t.unflatten(-1, (-1, c.head_dim)).transpose(0, 1) for t in (k, v))  # [K, L, D]
        k, v = (t.repeat_interleave(c.num_heads // c.num_kv_heads, dim=0) for t in (k, v))
        scores = (q @ k.transpose(1, 2)) * c.head_dim**-0.5
        seen = scores.masked_fill(~sees, float("-inf")).softmax(-1) @ v
        h = h + attention.o_proj(seen.transpose(0, 1).flatten(1))[None]
        h = h + layer.mlp(layer.post_attention_layernorm(h))
    return made.action_out_proj(made.expert.norm(h))  # type: ignore[no-any-return]


@torch.no_grad()
@pytest.mark.parametrize(
    ("changes", "cross_layers"),
    [
        ({}, (1, 3)),
        ({"self_attn_every": 3}, (1, 2)),
        ({"self_attn_every": 1}, ()),
        ({"self_attn_every": 0}, (0, 1, 2, 3)),
        ({"attention_mode": "self_attn"}, ()),
    ],
)
def test_what_is_computed_once_is_what_every_step_would_compute(
    changes: dict[str, object], cross_layers: tuple[int, ...]
) -> None:
    made = model(**changes)
    assert made.config.cross_layers == cross_layers
    written = prefix(made, inputs())
    assert ("cross_keys" in written) == ("cross_keys" in made.config.read) == bool(cross_layers)
    assert ("keys" in made.config.read) == (len(cross_layers) < 4)
    cond = made.cond(torch.tensor([0.3]))
    near(velocity(made, inputs()), plain_velocity(made, written, noise(), cond), 5e-6)


@torch.no_grad()
def test_an_action_depends_on_those_before_it_alone() -> None:
    made, x = model(), noise()
    before = velocity(made, inputs(), x)
    later = x.clone()
    later[:, 3:] = 0.77
    after = velocity(made, inputs(), later)
    near(after[:, :3], before[:, :3], 5e-6)
    assert ((after - before)[:, 3:].abs().amax(dim=2) > 1e-3).all()


@torch.no_grad()
def test_the_state_stands_last_and_only_actions_see_it() -> None:
    made, given = model(), inputs()
    before = prefix(made, given)
    after = prefix(made, {**given, "state": given["state"] + 0.5})
    for name in ("keys", "values", "cross_keys", "cross_values"):
        near(after[name][:, :, :, :-1], before[name][:, :, :, :-1], 5e-6)
        assert ((after[name] - before[name])[:, :, :, -1].abs().amax(dim=(1, 2, 3)) > 1e-3).all()
    assert (velocity(made, {**given, "state": given["state"] + 0.5}) - velocity(made, given)).abs().max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("changes", [{}, {"marks": MARKS}, {"marks": MARKS, "empty_cameras": 1}])
def test_a_masked_camera_is_as_if_it_were_not_there(changes: dict[str, object]) -> None:
    made, given = model(**changes), inputs()
    masked = velocity(made, {**given, "camera_mask": torch.tensor([[False, True]])})
    alone = velocity(made, {**given, "camera_mask": torch.tensor([[True]]), "pixels": given["pixels"][:, 1:]})
    near(masked, alone, 5e-6)
    assert (masked - velocity(made, given)).abs().max() > 1e-3
    given.pop("camera_mask")
    near(velocity(made, {**given, "pixels": given["pixels"][:, 1:]}), alone, 0)


@torch.no_grad()
def test_nothing_depends_on_how_far_a_prompt_is_padded() -> None:
    made, given = model(), inputs()
    tokens = torch.cat([given["tokens"][:, :4], torch.full((1, 9), 5)], dim=1)
    padded = velocity(made, {**given, "tokens": tokens, "token_mask": torch.arange(13)[None] < 4})
    near(padded, velocity(made, given), 5e-6)
    tokens[:, 3] = 6
    assert (velocity(made, {**given, "tokens": tokens, "token_mask": torch.arange(13)[None] < 4}) - padded).any()


@torch.no_grad()
def test_marks_stand_around_each_image_and_are_not_scaled() -> None:
    """As lerobot's `embed_prefix`, where an empty camera's tokens are masked and its marks are not."""
    plain, _ = model().embed_images(inputs()["pixels"], None)
    made = model(marks=MARKS, empty_cameras=1)
    got, mask = made.embed_images(inputs()["pixels"], torch.tensor([[True, False]]))
    row = made.language.embed_tokens.weight
    count = plain.shape[1] // 2
    image = [row[3:4], row[4:5], *plain[0].split(count)[:1], row[3:4]]
    near(got[0, : count + 3], torch.cat(image), 0)
    near(got[0, -3:], row[[3, 4, 3]], 0)
    assert mask[0].tolist() == [True] * (count + 3) + [False] * (count + 3) + [True] * 3
    assert made.config.prefix_length(2, 6) == got.shape[1] + 6 + 1
    assert CONFIG.prefix_length(2, 6) == replace(CONFIG, empty_cameras=1).prefix_length(2, 6) == 2 * count + 7


@torch.no_grad()
def test_nothing_is_nan_where_all_but_the_state_is_masked() -> None:
    given = inputs()
    given["camera_mask"][:] = False
    given["token_mask"][:] = False
    written = prefix(model(), given)
    assert all(tensor.isfinite().all() for tensor in written.values())
    assert velocity(model(), given).isfinite().all()


def test_pixels_are_shuffled_as_transformers_does() -> None:
    if "torchvision" not in sys.modules:  # a torchvision of another build breaks the import; nothing here uses it
        sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("torchvision._meta_registrations"))
    pytest.importorskip("transformers", reason="transformers is not installed")
    theirs = pytest.importorskip("transformers.models.smolvlm.modeling_smolvlm").SmolVLMConnector.pixel_shuffle
    patches = torch.randn(2, 36, 5)
    for factor in (1, 2, 3, 6):
        assert torch.equal(pixel_shuffle(patches, factor), theirs(None, patches, factor))


# sizes and names


def test_published_sizes_make_the_published_number_of_parameters() -> None:
    """403 M: the vision tower 86 M, the connector 12 M, the language model 205 M with its table, the expert 98 M."""
    vlm = SMOLVLM["SmolVLM2-500M-Video-Instruct"]
    language, expert = decoders(vlm.language, 16, -1, 0.75)
    with torch.device("meta"):
        made = SmolVla(SmolVlaConfig(vlm.vision, language, expert, vlm.scale_factor, vlm.vocab))

    def millions(module: torch.nn.Module) -> int:
        return round(sum(p.numel() for p in module.parameters()) / 1e6)

    parts = (made.vision, made.projector, made.language, made.expert, made)
    assert [millions(part) for part in parts] == [86, 12, 205, 98, 403]
    assert made.config.prefix_length(cameras=3, text=48) == 3 * 64 + 48 + 1


@pytest.mark.parametrize(("width", "wanted"), [(960, (720, 2048)), (96, (72, 256)), (576, (432, 1280))])
def test_an_expert_is_derived_as_the_reference_derives_it(width: int, wanted: tuple[int, int]) -> None:
    language, expert = decoders(smollm(width, 5, 64, 3, 1, 64), 3, 0, 0.75)
    assert (expert.width, expert.mlp_dim) == wanted
    assert (language.depth, expert.depth, expert.head_dim) == (3, 3, 64)
    assert decoders(smollm(width, 5, 64, 3, 1, 64), 9, 5, 0.75)[0].depth == 5


def test_an_expert_of_fewer_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="num_expert_layers is 2, the VLM has 4 layers: only as many"):
        decoders(smollm(24, 5, 40, 6, 2, 8), 4, 2, 0.75)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"language": replace(LANGUAGE, depth=3)}, "depth differs"),
        ({"expert": replace(EXPERT, num_heads=2)}, "num_heads differs"),
        ({"expert": replace(EXPERT, width=19)}, "width is 19"),
        ({"scale_factor": 4}, "6 patches along a side"),
        ({"attention_mode": "cross"}, "attention_mode is cross"),
        ({"marks": ImageMarks(3, 53)}, "image marks"),
        ({"horizon": 0}, "horizon is 0"),
    ],
)
def test_impossible_sizes_are_named(change: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(CONFIG, **change)  # type: ignore[arg-type]


def test_a_tied_head_is_the_table_and_layers_above_are_left_over() -> None:
    tied = FAMILY.source("language.embed_tokens.weight", frozenset({HEAD}), CONFIG)
    both = FAMILY.source("language.embed_tokens.weight", frozenset({HEAD, TABLE}), CONFIG)
    assert (tied.name, both.name) == (HEAD, TABLE)
    assert FAMILY.unused("vlm_with_expert.vlm.model.text_model.layers.20.mlp.up_proj.weight")
    assert not FAMILY.unused("vlm_with_expert.lm_expert.layers.20.mlp.up_proj.weight")


# graphs


def checkpoint(config: SmolVlaConfig) -> Checkpoint:
    """Two cameras, one of which is never masked, and six tokens of text."""
    spec = PolicySpec(
        cameras=(CameraSpec("base", 20, 30), CameraSpec("wrist", 33, 21, "refuse")),
        state=VectorSpec(("x",), ("",), config.state_padded),
        action=VectorSpec(("x",), ("",), config.action_padded),
        horizon=config.horizon,
        dt_s=0.1,
        control_mode="absolute",
        head=FlowSpec(3, 1.0, 0.0, config.read),
        prompt=PromptSpec("{instruction}\n", 6, None, 0),
        state_normalisation=Normalisation("none"),
        action_normalisation=Normalisation("none"),
    )
    image = Preprocess(config.vision.image, "torch-bilinear", "top-left")
    return Checkpoint("smolvla", "lerobot", config, spec, image, Stored({}, [Path("none")]), Path("none"))


@torch.no_grad()
@pytest.mark.parametrize(
    "changes", [{}, {"marks": MARKS, "empty_cameras": 2}, {"attention_mode": "self_attn"}, {"self_attn_every": 0}]
)
def test_the_step_graph_reads_what_the_prefix_graph_writes(changes: dict[str, object]) -> None:
    made = model(**changes)
    graphs = FAMILY.graphs(made, checkpoint(made.config))
    assert list(graphs) == ["prefix", "step"]
    first, step = (graph.signature() for graph in graphs.values())
    assert list(first.inputs) == ["pixels", "camera_mask", "tokens", "token_mask", "state"]
    written = dict(zip(first.outputs, graphs["prefix"](*first.inputs.values()), strict=True))
    read = {name: tensor for name, tensor in step.inputs.items() if name in written}
    assert list(step.inputs) == [*read, "x_t", "cond"]
    assert tuple(read) == made.config.read
    assert all(tensor.shape == written[name].shape for name, tensor in read.items())
    (moved,) = graphs["step"](*step.inputs.values())
    assert moved.shape == step.inputs["x_t"].shape


def test_constants_are_embeddings_of_every_count_of_steps() -> None:
    made = model()
    found = FAMILY.constants(made, checkpoint(made.config))
    assert {name: tuple(x.shape) for name, x in found.items()} == {f"cond.{n}": (n, EXPERT.width) for n in (1, 2, 3)}
    assert torch.equal(found["cond.2"], made.cond(torch.tensor([1.0, 0.5])))


@pytest.mark.slow
def test_nothing_is_in_a_graph_that_no_output_needs() -> None:
    language, expert = decoders(smollm(24, 2, 40, 6, 2, 8), -1, -1, 0.75)
    made = SmolVla(replace(CONFIG, language=language, expert=expert))
    prefix_graph = FAMILY.graphs(made, checkpoint(made.config))["prefix"]
    signature = prefix_graph.signature()
    graph = traced(prefix_graph, signature.inputs, signature.outputs).graph
    weights = {name.removeprefix("model.") for name in graph.initializers if name.startswith("model.")}
    last = {name for name in weights if name.startswith(("language.layers.1.", "language.norm."))}
    read = ("input_layernorm", "self_attn.k_proj", "self_attn.v_proj")
    assert last == {f"language.layers.1.{name}.weight" for name in read}
    expected = {f"expert.layers.1.self_attn.{name}_proj.weight" for name in "kv"}
    assert {
        name for name in weights if not name.startswith(("language.", "vision.", "projector.", "state_"))
    } == expected
    assert "ScatterND" not in {node.op_type for node in graph}  # what rotation in place would become
