"""A few steps of every stage, on a few scenes: it learns something, it resumes, its checkpoint loads and acts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.demo import act, data, model, see, words
from benchmarks.demo.finish import write_checkpoint
from benchmarks.demo.fit import Stage, fit
from benchmarks.demo.policies import InTorch
from benchmarks.demo.rollout import begin
from export.models.pi0 import Pi0


@pytest.fixture(scope="module")
def scenes() -> data.Scenes:
    return data.make(range(32))


def test_all_stages_run_and_the_checkpoint_acts(
    scenes: data.Scenes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    tokenizer = words.build()
    policy = Pi0(model.config(tokenizer.get_vocab_size()))
    act.start_expert(policy)
    heads, prompts = see.Answers(policy), see.Prompts(tokenizer)
    see.train_backbone(policy, heads, scenes, scenes, prompts, tmp_path, (2, 2), batch=8)
    chunks = act.label(scenes)
    scale = act.Scale.of(scenes, chunks)
    act.train_expert(policy, scenes, chunks, scale, prompts, tmp_path, Stage("act", 2, 1e-3), 128, batch=8, renewed=4)
    before = policy.vision.post_layernorm.weight.clone()
    act.train_together(policy, heads, scenes, chunks, 8, scale, prompts, tmp_path, "together", 2, 1e-3, batch=4)
    assert not torch.equal(before, policy.vision.post_layernorm.weight)
    assert "held" in capsys.readouterr().out
    assert not policy.action_in_proj.weight[:, act.JOINTS :].any()

    checkpoint = write_checkpoint(policy, scale, tokenizer, tmp_path / "checkpoint")
    acting = InTorch(checkpoint)
    (chunk,) = acting([begin(5)])
    assert chunk.shape == (policy.config.horizon, act.JOINTS)
    assert np.isfinite(chunk).all()
    assert not np.array_equal(chunk, acting([begin(5)])[0])  # other noise


def test_a_stopped_stage_goes_on_where_it_was(tmp_path: Path) -> None:
    def line() -> torch.nn.Linear:
        torch.manual_seed(3)
        return torch.nn.Linear(1, 1)

    def run(folder: Path, stops: list[int]) -> tuple[float, list[int]]:
        layer, drawn = line(), []

        def loss_of(rng: np.random.Generator) -> torch.Tensor:
            x = torch.from_numpy(rng.standard_normal((8, 1))).float()
            drawn.append(1)
            return ((layer(x) - 2 * x) ** 2).mean()

        folder.mkdir()
        for steps in stops:
            layer = line()
            fit(Stage("line", steps, 0.05), {"line": layer}, loss_of, folder)
        return float(layer.weight.detach()), drawn

    once, drawn_once = run(tmp_path / "once", [30])
    again, drawn_again = run(tmp_path / "again", [30, 30])
    assert once == again
    assert len(drawn_again) == len(drawn_once) == 30
    assert abs(once - 2.0) < abs(float(line().weight.detach()) - 2.0)


def test_flow_loss_is_small_where_the_velocity_is_right() -> None:
    """A model whose velocity is noise - actions has no loss: that fixes signs and the direction of time."""
    rng = np.random.default_rng(0)
    actions = torch.from_numpy(rng.standard_normal((64, 4, act.JOINTS))).float()

    class Perfect(torch.nn.Module):
        config = model.config(8)

        def cond(self, times: torch.Tensor) -> torch.Tensor:
            return times[:, None]

        def velocity(self, _k: object, _v: object, _m: object, x: torch.Tensor, t: torch.Tensor, _s: object):
            return (x[..., : act.JOINTS] - actions) / t[:, None]  # x_t - actions = t·(noise - actions)

    none = torch.zeros(1)
    loss = act.flow_loss(Perfect(), none, none, none, none, actions, rng)  # type: ignore[arg-type]
    assert float(loss) < 1e-4


def test_given_rows_are_clean_at_flow_time_0_and_not_learnt() -> None:
    rng = np.random.default_rng(0)
    actions = torch.from_numpy(rng.standard_normal((64, 4, act.JOINTS))).float()
    given = torch.zeros(64, 4, dtype=torch.bool)
    given[::2, :3] = True
    seen: list[torch.Tensor] = []

    class Telling(torch.nn.Module):
        config = model.config(8)

        def cond(self, times: torch.Tensor) -> torch.Tensor:
            return times[..., None]

        def velocity(self, _k: object, _v: object, _m: object, x: torch.Tensor, t: torch.Tensor, _s: object):
            seen.extend((x[..., : act.JOINTS], t[..., 0]))
            right = (x[..., : act.JOINTS] - actions) / t.clamp(min=1e-3)
            return torch.where(given[..., None], 1e3, right)

    none = torch.zeros(1)
    loss = act.flow_loss(Telling(), none, none, none, none, actions, rng, given)  # type: ignore[arg-type]
    x, t = seen
    assert float(loss) < 1e-4
    assert torch.equal(x[given], actions[given])
    assert not t[given].any()
    assert (t[~given] > 0).all()


def test_every_other_chunk_is_given_rows_that_the_rest_finds_back_from() -> None:
    actions = torch.zeros(4000, 16, act.JOINTS)
    off, given = act.commit(actions, np.random.default_rng(2))
    counts = given.sum(1)
    assert 0.45 < float((counts == 0).float().mean()) < 0.55
    assert counts.unique().tolist() == list(range(act.COMMITTED + 1))
    assert bool((given[:, :-1] >= given[:, 1:]).all())  # the first rows, without a gap
    assert not off[counts == 0].any()
    some = off[counts == 3]
    assert torch.equal(some[:, 0], some[:, 2])
    assert float(some[:, 0].std()) == pytest.approx(act.SLIP, rel=0.1)
    assert bool((some[:, 3:].abs() <= some[:, 2:-1].abs()).all())
    assert float((some[:, 12] / some[:, 0]).abs().max()) < 0.05
