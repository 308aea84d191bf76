"""A module of a few thousand numbers with everything that makes weights hard to stream."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export.onnx_file import Signature
from export.weights import Weights


class Scale(nn.Module):
    """A norm whose weight is used as 1 + weight, as Gemma's is."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * (1.0 + self.weight)


class Small(nn.Module):
    """Tokens int64 [1, 4] and pixels [1, 3, 8, 8] → logits [1, rows].

    Its table is looked up, used without a call, and read out with: three uses of one parameter. Two linear layers are
    one. Its buffer is real wherever its parameters are.
    """

    def __init__(self, rows: int = 40, width: int = 24) -> None:
        super().__init__()
        self.rows, self.width = rows, width
        self.table = nn.Embedding(rows, width)
        self.patches = nn.Conv2d(3, width, kernel_size=4, stride=4)
        self.scale = Scale(width)
        self.mix = nn.Linear(width, width)
        self.again = self.mix
        self.head = nn.Linear(width, rows, bias=False)
        self.head.weight = self.table.weight
        self.register_buffer("ramp", torch.linspace(0.0, 1.0, width, device="cpu"), persistent=False)

    def forward(self, tokens: Tensor, pixels: Tensor) -> Tensor:
        x = torch.cat([self.table(tokens), self.patches(pixels).flatten(2).transpose(1, 2)], dim=1)
        x = self.again(F.gelu(self.mix(self.scale(x)))) + self.table.weight[:8] + self.get_buffer("ramp")
        logits: Tensor = self.head(x.mean(dim=1))
        return logits

    def signature(self) -> Signature:
        inputs = {"tokens": torch.zeros(1, 4, dtype=torch.int64), "pixels": torch.zeros(1, 3, 8, 8)}
        return Signature(inputs, ("logits",))


def small(seed: int = 0) -> Small:
    """Random weights."""
    torch.manual_seed(seed)
    made = Small()
    nn.init.normal_(made.scale.weight)
    return made.eval()


def small_meta() -> Small:
    """The same without weights."""
    with torch.device("meta"):
        return Small().eval()


def reading(module: nn.Module, log: list[str] | None = None) -> Weights:
    """The parameters of `module` by name, each read a new tensor; `log` gets the names that are read."""

    def read(name: str, parameter: Tensor) -> Tensor:
        if log is not None:
            log.append(name)
        return parameter.detach().clone()

    return {name: lambda n=name, p=parameter: read(n, p) for name, parameter in module.named_parameters()}  # type: ignore[misc]
