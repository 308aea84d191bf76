"""Every action's own flow time, as real-time chunking wants it: pi0, pi0.5 and SmolVLA take one for each row."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from export.models.decoder import AdaptiveNorm
from export.models.pi0 import Pi0
from export.models.smolvla import SmolVla
from tests.export import tiny_pi, tiny_smolvla

BATCH, CAMERAS, TEXT, HORIZON = 2, 2, 6, tiny_pi.HORIZON
Velocity = Callable[[Tensor], Tensor]


def seeded(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def seen(image: int) -> dict[str, Tensor]:
    tokens = torch.randint(4, tiny_pi.VOCAB, (BATCH, TEXT), generator=torch.Generator().manual_seed(2))
    return {
        "pixels": seeded(BATCH, CAMERAS, 3, image, image, seed=1),
        "tokens": tokens,
        "token_mask": torch.arange(TEXT).expand(BATCH, -1) < torch.tensor([[4], [6]]),
    }


def at_times(family: str) -> Velocity:
    """Times [B] or [B, H] → the velocity of the same noise."""
    x = seeded(BATCH, HORIZON, 9, seed=3)
    if family == "smolvla":
        smolvla = tiny_smolvla.model()
        written = smolvla.prefix(**seen(tiny_smolvla.VISION.image), state=seeded(BATCH, 8, seed=4))
        named = dict(zip(smolvla.config.written, written, strict=True))
        read = {name: named[name] for name in smolvla.config.read}
        return lambda times: smolvla.velocity(x_t=x, cond=smolvla.cond(times), **read)
    pi0 = tiny_pi.model(family, tiny_pi.PI0 if family == "pi0" else tiny_pi.PI05)
    assert isinstance(pi0, Pi0)
    cache = pi0.prefix(**seen(tiny_pi.VISION.image))
    state = seeded(BATCH, tiny_pi.PADDED, seed=4) if family == "pi0" else None
    return lambda times: pi0.velocity(*cache, x, pi0.cond(times), state)


@torch.no_grad()
@pytest.mark.parametrize("family", ["pi0", "pi05", "smolvla"])
def test_the_same_time_in_every_row_is_one_time(family: str) -> None:
    velocity, times = at_times(family), torch.tensor([0.3, 0.7])
    one = velocity(times)
    torch.testing.assert_close(velocity(times[:, None].expand(-1, HORIZON)), one, rtol=0, atol=1e-6)
    own = times[:, None].repeat(1, HORIZON)
    own[0, 0] = 0.0
    other = velocity(own)
    assert (other - one)[0].abs().amax(dim=1).min() > 1e-5, "the other actions see the first one"
    torch.testing.assert_close(other[1], one[1], rtol=0, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("made", [tiny_pi.model("pi0", tiny_pi.PI0), tiny_smolvla.model()], ids=["pi0", "smolvla"])
def test_an_action_is_told_its_own_time(made: Pi0 | SmolVla) -> None:
    x, times = seeded(1, HORIZON, 9, seed=3), torch.rand(1, HORIZON, generator=torch.Generator().manual_seed(5))

    def embedded(times: Tensor) -> Tensor:
        cond = made.cond(times)
        rows = made.embed_suffix(seeded(1, 9, seed=4), x, cond) if isinstance(made, Pi0) else made.embed_suffix(x, cond)
        return rows[0, -HORIZON:]

    got = embedded(times)
    for row in range(HORIZON):
        torch.testing.assert_close(got[row], embedded(times[:, row])[row], rtol=0, atol=1e-6)


@torch.no_grad()
def test_adaptive_norms_modulate_each_token_by_its_own() -> None:
    norm = AdaptiveNorm(tiny_pi.PI05.expert)
    width = tiny_pi.PI05.expert.width
    x, modulation = seeded(BATCH, HORIZON, width, seed=1), seeded(BATCH, HORIZON, 3 * width, seed=2)
    y, gate = norm(x, modulation)
    for row in range(HORIZON):
        alone, own_gate = norm(x[:, row : row + 1], modulation[:, row])
        torch.testing.assert_close(y[:, row : row + 1], alone, rtol=0, atol=1e-6)
        torch.testing.assert_close(gate[:, row : row + 1], own_gate, rtol=0, atol=0)


@torch.no_grad()
def test_pi05_has_one_modulation_a_norm_and_row() -> None:
    made = tiny_pi.model("pi05", tiny_pi.PI05)
    assert isinstance(made, Pi0)
    times = torch.rand(BATCH, HORIZON, generator=torch.Generator().manual_seed(5))
    rows = made.unpack(made.cond(times))
    c = tiny_pi.PI05.expert
    assert rows.shape == (2 * c.depth + 1, BATCH, HORIZON, 3 * c.width)
    torch.testing.assert_close(rows[:, :, 1], made.unpack(made.cond(times[:, 1])), rtol=0, atol=1e-6)
