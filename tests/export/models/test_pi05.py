"""pi0.5: flow time in the expert's norms, computed once, is what each layer would compute; the state is in words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from export import layouts
from export.layouts.options import Options
from export.models import pi05
from export.models.common import rotary, rotate
from export.models.decoder import GEMMA, AdaptiveNorm
from export.models.flow import flow_times, time_embedding
from export.models.pi0 import Pi0, Pi0Config
from export.models.vit import SIGLIP
from tests.export import tiny_pi
from tests.export.tiny_pi import PI0, PI05

TEXT = 6


@pytest.fixture(scope="module")
def made() -> Pi0:
    found = tiny_pi.model("pi05", PI05)
    assert isinstance(found, Pi0)
    return found


def inputs(seed: int = 1) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    size = PI05.vision.image
    return {
        "pixels": torch.rand(1, 2, 3, size, size, generator=g) * 2 - 1,
        "tokens": torch.randint(4, PI05.vocab, (1, TEXT), generator=g),
        "token_mask": torch.arange(TEXT)[None] < 4,
        "camera_mask": torch.tensor([[True, True]]),
    }


def noise() -> Tensor:
    return torch.randn(1, PI05.horizon, PI05.action_padded, generator=torch.Generator().manual_seed(7))


def velocity(made: Pi0, given: dict[str, Tensor], x: Tensor | None = None, t: float = 0.3) -> Tensor:
    return made.velocity(*made.prefix(**given), noise() if x is None else x, made.cond(torch.tensor([t])))


def plain_velocity(made: Pi0, given: dict[str, Tensor], x: Tensor, t: float) -> Tensor:
    """The expert written out as the reference has it: `dense` in every norm at every step, K/V repeated, -inf masks."""
    c, (keys, values, mask) = made.config.expert, made.prefix(**given)
    emb = time_embedding(torch.tensor([t]), c.width, made.config.min_period, made.config.max_period)
    cond = torch.nn.functional.silu(made.time_mlp_out(torch.nn.functional.silu(made.time_mlp_in(emb))))

    def adaptive(norm: nn.Module, y: Tensor) -> tuple[Tensor, Tensor]:
        assert isinstance(norm, AdaptiveNorm)
        scale, shift, gate = norm.dense(cond)[:, None].chunk(3, dim=-1)
        rms = torch.sqrt(y.square().mean(-1, keepdim=True) + c.norm_eps)
        return y / rms * (1 + scale) + shift, gate

    def heads(y: Tensor) -> Tensor:
        return y.unflatten(-1, (-1, c.head_dim)).transpose(1, 2)

    h, count = made.action_in_proj(x), x.shape[1]
    table = rotary(int(mask.sum()) + torch.arange(count)[None].float(), c.head_dim)
    sees = torch.cat([mask[0].expand(count, -1), torch.ones(count, count).bool()], dim=1)
    for i, layer in enumerate(made.expert.layers):
        y, gate = adaptive(layer.input_layernorm, h)
        attention, groups = layer.self_attn, c.num_heads // c.num_kv_heads
        q, own = (rotate(heads(proj(y)).transpose(1, 2), table) for proj in (attention.q_proj, attention.k_proj))
        q, k = q.transpose(1, 2), torch.cat([keys[i], own.transpose(1, 2)], dim=2).repeat_interleave(groups, dim=1)
        v = torch.cat([values[i], heads(attention.v_proj(y))], dim=2).repeat_interleave(groups, dim=1)
        scores = (q @ k.transpose(2, 3) * c.head_dim**-0.5).masked_fill(~sees, float("-inf"))
        h = h + attention.o_proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2)) * gate
        y, gate = adaptive(layer.post_attention_layernorm, h)
        h = h + layer.mlp(y) * gate
    out: Tensor = made.action_out_proj(adaptive(made.expert.norm, h)[0])
    return out


@torch.no_grad()
@pytest.mark.parametrize("t", [1.0, 0.3, 0.1])
def test_modulation_computed_once_is_what_every_norm_would_compute(made: Pi0, t: float) -> None:
    given = inputs()
    wanted = plain_velocity(made, given, noise(), t)
    torch.testing.assert_close(velocity(made, given, t=t), wanted, rtol=0, atol=2e-6 * float(wanted.abs().max()) + 2e-6)
    assert (velocity(made, given, t=0.9) - wanted).abs().max() > 1e-3


@torch.no_grad()
def test_cond_holds_every_norm_in_the_order_they_stand(made: Pi0) -> None:
    c = PI05.expert
    cond = made.cond(torch.tensor([1.0, 0.5]))
    assert cond.shape == (2, (2 * c.depth + 1) * 3 * c.width)
    rows = made.unpack(cond)
    norms = [norm for layer in made.expert.layers for norm in (layer.input_layernorm, layer.post_attention_layernorm)]
    emb = time_embedding(torch.tensor([1.0, 0.5]), c.width, 4e-3, 4.0)
    hidden = torch.nn.functional.silu(made.time_mlp_out(torch.nn.functional.silu(made.time_mlp_in(emb))))
    for row, norm in zip(rows, [*norms, made.expert.norm], strict=True):
        wanted = norm.dense(hidden)
        wanted[:, : c.width] += 1.0
        torch.testing.assert_close(row, wanted, rtol=0, atol=1e-6)
    assert (cond[0] - cond[1]).abs().max() > 1e-3


@torch.no_grad()
def test_all_actions_see_each_other(made: Pi0) -> None:
    x = noise()
    before = velocity(made, inputs(), x)
    x[:, -1] += 1.0
    assert ((velocity(made, inputs(), x) - before).abs().amax(dim=2) > 1e-4).all()


@torch.no_grad()
def test_what_is_masked_changes_nothing(made: Pi0) -> None:
    given = inputs()
    before = velocity(made, given)
    tokens = given["tokens"].clone()
    tokens[:, 4:] = 5
    torch.testing.assert_close(velocity(made, {**given, "tokens": tokens}), before, rtol=0, atol=2e-6)
    masked = velocity(made, {**given, "camera_mask": torch.tensor([[True, False]])})
    alone = {**given, "pixels": given["pixels"][:, :1], "camera_mask": torch.tensor([[True]])}
    torch.testing.assert_close(velocity(made, alone), masked, rtol=0, atol=2e-6)
    assert (masked - before).abs().max() > 1e-3


def test_no_graph_takes_a_state(tmp_path: Path) -> None:
    """It is in the prompt; pi0's step takes it."""
    for kind, wanted in (("pi05", False), ("pi0", True)):
        checkpoint = layouts.read(tiny_pi.lerobot(tmp_path / kind, kind), Options())
        with torch.device("meta"):
            model = pi05.FAMILY.build(checkpoint.config)
        graphs = pi05.FAMILY.graphs(model, checkpoint)
        named = {name: list(graph.signature().inputs) for name, graph in graphs.items()}
        assert named["prefix"] == ["pixels", "camera_mask", "tokens", "token_mask"]
        cond = {"keys", "values", "prefix_mask", "x_t", "cond"}
        assert set(named["step"]) == cond | ({"state"} if wanted else set())


def test_constants_are_the_modulation_of_every_count_of_steps(made: Pi0, tmp_path: Path) -> None:
    checkpoint = layouts.read(tiny_pi.openpi(tmp_path / "c", "pi05", steps=3), Options())
    found = pi05.FAMILY.constants(made, checkpoint)
    assert sorted(found) == ["cond.1", "cond.2", "cond.3"]
    for n in (1, 2, 3):
        with torch.no_grad():
            wanted = made.cond(flow_times(n, "accumulated"))
        torch.testing.assert_close(found[f"cond.{n}"], wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "name", ["action_in_proj", "action_out_proj", "time_mlp_in", "time_mlp_out", "expert.norm.dense"]
)
def test_every_part_counts(made: Pi0, name: str) -> None:
    found = tiny_pi.model("pi05", PI05)
    assert isinstance(found, Pi0)
    with torch.no_grad():
        before = velocity(found, inputs())
        found.get_parameter(f"{name}.bias").add_(0.5)
        assert (velocity(found, inputs()) - before).abs().max() > 1e-4


def test_its_parameters_are_pi0s_but_for_the_state_and_the_norms(made: Pi0) -> None:
    names = {name for name, _ in made.named_parameters()}
    with torch.device("meta"):
        pi0 = {name for name, _ in Pi0(PI0).named_parameters()}
    modulated = {f"expert.{name}" for name, _ in made.expert.named_parameters() if ".dense." in name}
    time = {f"time_mlp_{side}.{leaf}" for side in ("in", "out") for leaf in ("weight", "bias")}
    assert names - pi0 == modulated | time
    assert all(name.startswith(("state_proj.", "action_time_mlp_")) or "norm" in name for name in pi0 - names)


def test_published_sizes_make_the_published_number_of_parameters() -> None:
    """3.353 B, the expert 428 M of them (lerobot `policies/pi05`)."""
    with torch.device("meta"):
        made = Pi0(Pi0Config(SIGLIP["so400m"], GEMMA["gemma_2b"], replace(GEMMA["gemma_300m"], adaptive=True)))
    assert round(sum(p.numel() for p in made.expert.parameters()) / 1e6) == 428
    assert round(sum(p.numel() for p in made.parameters()) / 1e6) in (3352, 3353)
