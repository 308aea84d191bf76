"""Names, rows and shapes between a checkpoint and a module: nothing is read before it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from export.errors import CheckpointError
from export.stored import Stored, open_safetensors
from export.weights import Source, Weights, bind, fill, save_weights
from tests.export.small import Small, small, small_meta


def stored(path: Path, change: Callable[[dict[str, Tensor]], object] = lambda _: None) -> Stored:
    """The small module's weights behind `net.`, with a fused copy of its two matrices."""
    tensors = {f"net.{name}": p.detach().clone() for name, p in small().named_parameters()}
    change(tensors)
    save_file(tensors, path / "model.safetensors")
    return open_safetensors(path / "model.safetensors")


def same_name(name: str, _: frozenset[str]) -> Source:
    return Source(f"net.{name}")


def bound(found: Stored, source: Callable[[str, frozenset[str]], Source] = same_name) -> Weights:
    return bind(small_meta(), found, source, lambda name: name.startswith("net.unused"))


def test_every_parameter_once_as_float32(tmp_path: Path) -> None:
    weights = bound(stored(tmp_path, lambda t: t.update({n: x.to(torch.bfloat16) for n, x in t.items()})))
    parameters = dict(small().named_parameters())
    assert weights.keys() == parameters.keys()
    assert "head.weight" not in weights, "it is the table's"
    for name, read in weights.items():
        assert torch.equal(read(), parameters[name].to(torch.bfloat16).float())


def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    weights = bound(stored(tmp_path))
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        weights["mix.weight"]()


def test_a_filled_module_is_the_module(tmp_path: Path) -> None:
    made, wanted = small_meta(), small()
    assert fill(made, bind(made, stored(tmp_path), same_name, lambda _: False)) is made
    assert {n: p.shape for n, p in made.named_parameters()} == {n: p.shape for n, p in wanted.named_parameters()}
    assert made.head.weight is made.table.weight
    assert made.again is made.mix
    assert all(isinstance(p, nn.Parameter) and p.requires_grad for p in made.parameters())
    inputs = tuple(wanted.signature().inputs.values())
    assert torch.equal(made(*inputs), wanted(*inputs))


def test_buffers_that_a_checkpoint_keeps_are_filled_too(tmp_path: Path) -> None:
    norm = nn.BatchNorm1d(3)
    norm.running_mean, norm.num_batches_tracked = torch.tensor([1.0, 2.0, 3.0]), torch.tensor(7)
    save_file(dict(norm.state_dict()), tmp_path / "norm.safetensors")
    with torch.device("meta"):
        empty = nn.BatchNorm1d(3)
    file = open_safetensors(tmp_path / "norm.safetensors")
    filled = fill(empty, bind(empty, file, lambda name, _: Source(name), lambda _: False))
    assert not isinstance(filled.running_mean, nn.Parameter)
    assert {n: t.tolist() for n, t in filled.state_dict().items()} == {
        n: t.tolist() for n, t in norm.state_dict().items()
    }
    assert filled.num_batches_tracked is not None
    assert filled.num_batches_tracked.dtype == torch.int64


def test_rows_and_shapes(tmp_path: Path) -> None:
    mixed = small().mix.weight

    def fuse(tensors: dict[str, Tensor]) -> None:
        tensors["net.fused"] = torch.cat([torch.zeros(2, 24), tensors.pop("net.mix.weight"), torch.ones(1, 24)])
        tensors["net.scale.weight"] = tensors["net.scale.weight"].reshape(1, 2, 12)

    places = {
        "mix.weight": Source("net.fused", rows=slice(2, 26)),
        "scale.weight": Source("net.scale.weight", reshape=(24,)),
    }
    file = stored(tmp_path, fuse)
    weights = bound(file, lambda name, names: places.get(name, same_name(name, names)))
    assert torch.equal(weights["mix.weight"](), mixed)
    assert weights["mix.weight"]().untyped_storage().nbytes() == mixed.numel() * 4, "the rest is let go"
    assert torch.equal(weights["scale.weight"](), small().scale.weight)
    places["mix.weight"] = Source("net.fused", rows=tuple(reversed(range(2, 26))))
    weights = bound(file, lambda name, names: places.get(name, same_name(name, names)))
    assert torch.equal(weights["mix.weight"](), mixed.flip(0))
    for rows in (slice(3, 27 + 1), slice(0, 23), tuple(range(4, 28)), (*range(23), -1)):
        places["mix.weight"] = Source("net.fused", rows=rows)
        with pytest.raises(CheckpointError, match=r"the part of net\.fused has shape \[\d+, 24\], the sizes say \[24"):
            bound(file, lambda name, names: places.get(name, same_name(name, names)))


def wide(tensors: dict[str, Tensor]) -> None:
    tensors["net.mix.bias"] = torch.zeros(25)


def infinite(value: float, kind: torch.dtype) -> Callable[[dict[str, Tensor]], object]:
    def change(tensors: dict[str, Tensor]) -> None:
        tensors["net.mix.bias"] = torch.zeros(24, dtype=kind)
        tensors["net.mix.bias"][5] = value

    return change


BROKEN: dict[str, tuple[Callable[[dict[str, Tensor]], object], str]] = {
    "one missing": (lambda t: t.pop("net.mix.bias"), r"lacks tensor net\.mix\.bias$"),
    "all missing": (dict.clear, r"lacks tensors net\.mix\.bias, net\.mix\.weight, net\.patches\.bias and 3 more$"),
    "one more": (lambda t: t.update({"net.x": torch.zeros(1)}), r"has unexpected tensor net\.x$"),
    "four more": (
        lambda t: t.update({f"net.x{i}": torch.zeros(1) for i in range(4)}),
        r"has unexpected tensors net\.x0, net\.x1, net\.x2 and 1 more$",
    ),
    "a wrong shape": (wide, r"net\.mix\.bias has shape \[25\], the sizes say \[24\]; give the right sizes with --dims"),
}
BROKEN_VALUES: dict[str, tuple[Callable[[dict[str, Tensor]], object], str]] = {
    "nan": (infinite(float("nan"), torch.float32), r"net\.mix\.bias has values that are not finite"),
    "infinite": (infinite(float("-inf"), torch.bfloat16), r"net\.mix\.bias has values that are not finite"),
    "too large": (infinite(1e300, torch.float64), r"net\.mix\.bias has values that are not finite"),
    "whole numbers": (infinite(3, torch.int8), r"net\.mix\.bias is torch\.int8; give a checkpoint that is not quant"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_does_not_fit(tmp_path: Path, case: str) -> None:
    change, words = BROKEN[case]
    file = stored(tmp_path, change)
    with pytest.raises(CheckpointError, match=words) as caught:
        bound(file)
    assert str(caught.value).startswith(str(tmp_path / "model.safetensors"))


@pytest.mark.parametrize("case", BROKEN_VALUES)
def test_values_that_no_model_has(tmp_path: Path, case: str) -> None:
    change, words = BROKEN_VALUES[case]
    weights = bound(stored(tmp_path, change))
    with pytest.raises(CheckpointError, match=words) as caught:
        weights["mix.bias"]()
    assert str(caught.value).startswith(str(tmp_path / "model.safetensors"))


def test_what_nobody_needs_may_be_left_over(tmp_path: Path) -> None:
    file = stored(tmp_path, lambda t: t.update({"net.unused.head": torch.full((2,), float("nan"))}))
    assert bound(file).keys() == dict(Small().named_parameters()).keys()


def test_saving(tmp_path: Path) -> None:
    shared = torch.randn(4, 3)
    save_weights({"a": shared, "b": shared.t(), "c": nn.Parameter(shared)}, tmp_path / "x", torch.bfloat16)
    assert torch.equal(load_file(tmp_path / "x")["b"], shared.t().bfloat16())
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o644
