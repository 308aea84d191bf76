"""What a pi0 must be, whatever its weights: masks hide, order of missing slots does not matter, batches do not mix."""

from __future__ import annotations

import pytest
import torch

from export.models.decoder import GEMMA, DecoderConfig
from export.models.pi0 import Pi0, Pi0Config
from export.models.vit import SIGLIP, VitConfig
from tests.export.tiny import CONFIG, model

C, T = 2, 5


def inputs(batch: int = 2, seed: int = 1) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    size = CONFIG.vision.image
    return {
        "pixels": torch.rand(batch, C, 3, size, size, generator=g) * 2 - 1,
        "camera_mask": torch.tensor([[True, True], [True, False]])[:batch],
        "tokens": torch.randint(0, CONFIG.vocab, (batch, T), generator=g),
        "token_mask": torch.tensor([[True] * 5, [True] * 3 + [False] * 2])[:batch],
    }


def velocity(pi0: Pi0, given: dict[str, torch.Tensor]) -> torch.Tensor:
    g = torch.Generator().manual_seed(7)
    batch = len(given["tokens"])
    keys, values, mask = pi0.prefix(**given)
    state = torch.randn(2, CONFIG.state_padded, generator=g)[:batch]
    x = torch.randn(2, CONFIG.horizon, CONFIG.action_padded, generator=g)[:batch]
    return pi0.velocity(keys, values, mask, x, pi0.cond(torch.full((batch,), 0.3)), state)


@torch.no_grad()
def test_what_is_masked_changes_nothing() -> None:
    pi0, given = model(), inputs()
    before = velocity(pi0, given)
    given["pixels"][1, 1] = 0.77
    given["tokens"][1, 3:] = 4
    torch.testing.assert_close(velocity(pi0, given), before, rtol=0, atol=1e-6)
    given["pixels"][1, 0, 0] = 0.77
    assert (velocity(pi0, given) - before)[1].abs().max() > 1e-3


@torch.no_grad()
def test_a_masked_slot_is_as_if_it_were_not_there() -> None:
    """Which is why empty cameras are left out of the graphs, and a camera may be missing from any slot."""
    pi0, given = model(), inputs()
    last = {k: v[1:] for k, v in given.items()}
    first = {**last, "pixels": last["pixels"].flip(1), "camera_mask": last["camera_mask"].flip(1)}
    alone = {**last, "pixels": last["pixels"][:, :1], "camera_mask": last["camera_mask"][:, :1]}
    torch.testing.assert_close(velocity(pi0, first), velocity(pi0, last), rtol=0, atol=1e-6)
    torch.testing.assert_close(velocity(pi0, alone), velocity(pi0, last), rtol=0, atol=1e-6)


@torch.no_grad()
def test_examples_of_a_batch_do_not_mix() -> None:
    pi0, given = model(), inputs()
    one = velocity(pi0, {k: v[:1] for k, v in given.items()})
    torch.testing.assert_close(velocity(pi0, given)[:1], one, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_nothing_is_nan_where_a_whole_prefix_but_one_token_is_masked() -> None:
    given = inputs()
    given["camera_mask"][:] = False
    given["token_mask"][:, 1:] = False
    assert torch.isfinite(velocity(model(), given)).all()


def test_every_parameter_that_counts_gets_a_gradient() -> None:
    pi0 = model()
    for parameter in pi0.parameters():
        parameter.requires_grad_(True)
    velocity(pi0, inputs()).square().sum().backward()
    last = CONFIG.language.depth - 1  # of the last backbone layer the expert reads keys and values only
    unread = {
        f"language.layers.{last}.{n}" for n in ("self_attn.q_proj", "self_attn.o_proj", "post_attention_layernorm")
    }
    unread |= {f"language.layers.{last}.mlp.{n}_proj" for n in ("gate", "up", "down")} | {"language.norm"}
    idle = {n.removesuffix(".weight") for n, p in pi0.named_parameters() if p.grad is None or not p.grad.any()}
    assert idle == unread


def test_published_sizes_make_the_published_number_of_parameters() -> None:
    """3.238 B: the vision tower 412 M, the language model 2509 M with its table, the expert 311 M (openpi)."""
    with torch.device("meta"):
        pi0 = Pi0(Pi0Config(SIGLIP["so400m"], GEMMA["gemma_2b"], GEMMA["gemma_300m"]))

    def millions(module: torch.nn.Module) -> int:
        return round(sum(p.numel() for p in module.parameters()) / 1e6)

    assert (millions(pi0.vision), millions(pi0.language), millions(pi0.expert)) == (412, 2509, 311)
    assert millions(pi0) == 3238


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"language": DecoderConfig(16, 3, 24, 4, 2, 8)}, "depth differs"),
        ({"expert": DecoderConfig(12, 2, 20, 4, 2, 10)}, "head_dim differs"),
        ({"expert": DecoderConfig(13, 2, 20, 4, 2, 8)}, "width is 13"),
        ({"horizon": 0}, "horizon is 0"),
    ],
)
def test_impossible_sizes_are_named(change: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Pi0Config(**{**vars(CONFIG), **change})  # type: ignore[arg-type]


def test_impossible_parts_are_named() -> None:
    with pytest.raises(ValueError, match="must divide into 3"):
        DecoderConfig(16, 2, 24, 4, 3, 8)
    with pytest.raises(ValueError, match="18 pixels does not divide into patches of 20"):
        VitConfig(24, 2, 2, 32, 20, 18)
