"""The roofline floor of a policy: no device runs a graph faster than it reads the weights or computes the products.

One run takes at least max(bytes / bandwidth, flops / peak) (Williams, Waterman, Patterson 2009,
https://doi.org/10.1145/1498765.1498785), one inference the sum over its runs. It is a floor and no measurement: every
weight is read once a run, and whatever else takes time is left out: activations, keys and values, launches, the CPU.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from edge_runtime.bundle_spec import GRAPHS, GUIDE, BinScheme, FlowSpec, Head, Manifest, TokenSpec
from edge_runtime.errors import EdgeError
from edge_runtime.suggest import did_you_mean

BITS = {"fp32": 32, "bf16": 16, "fp16": 16, "fp8": 8, "int8": 8, "int4": 4}
"""Bits of a weight. 8 bits are weights and activations (W8A8); `int4` is weights only, and arithmetic in 16 bits."""
_STORED = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16", "float8_e4m3fn": "fp8", "uint8": "int8"}


@dataclass(frozen=True)
class Device:
    """A device of `bandwidth` bytes/s; `peak`: precision → FLOP/s, dense, accumulated in 32 bits."""

    title: str
    bandwidth: float
    peak: Mapping[str, float]


def _device(title: str, gb_s: float, *, fp32: float, half: float, int8: float, fp8: float = 0.0) -> Device:
    """Peaks in TFLOP/s. fp32 is that of the CUDA cores: nobody promised that TF32 is precise enough."""
    peak = {"fp32": fp32, "bf16": half, "fp16": half, "fp8": fp8, "int8": int8, "int4": half}
    return Device(title, gb_s * 1e9, {name: value * 1e12 for name, value in peak.items() if value})


DEVICES = {
    # Orin (SM87, no FP8). An SM does 256 fp32, 2048 fp16 and 4096 int8 operations a clock: NVIDIA's Jetson AGX Orin
    # technical brief gives 5.3 FP32 TFLOPs and 170 sparse (85 dense) INT8 TOPs to 16 SMs at 1.3 GHz. The others have
    # fewer SMs and lower clocks, by their data sheets (DS-10712-001 for Orin NX); DLAs are left out. `-super`: the
    # higher clocks of MAXN_SUPER, NVIDIA's blog "JetPack 6.2 Brings Super Mode to Jetson Orin Nano and Orin NX".
    # Nano: 8 SMs at 625 MHz, 40 sparse TOPs; super at 1020 MHz, 67 sparse TOPs.
    "orin-nano-8": _device("Jetson Orin Nano 8 GB", 68.0, fp32=1.28, half=10.2, int8=20.5),
    "orin-nano-8-super": _device("Jetson Orin Nano 8 GB, MAXN_SUPER", 102.4, fp32=2.09, half=16.7, int8=33.4),
    # NX 16: 8 SMs at 918 MHz; super at 1173 MHz.
    "orin-nx-16": _device("Jetson Orin NX 16 GB", 102.4, fp32=1.88, half=15.0, int8=30.1),
    "orin-nx-16-super": _device("Jetson Orin NX 16 GB, MAXN_SUPER", 102.4, fp32=2.40, half=19.2, int8=38.4),
    # AGX 32: 14 SMs (1792 cores) at 930 MHz.
    "agx-orin-32": _device("Jetson AGX Orin 32 GB", 204.8, fp32=3.33, half=26.7, int8=53.3),
    "agx-orin-64": _device("Jetson AGX Orin 64 GB", 204.8, fp32=5.3, half=42.5, int8=85.0),
    # Jetson Thor data sheet DS-11945-001: 273 GB/s, FP4 2070 and FP8 1035 TFLOPS sparse, 2560 cores at 1.575 GHz;
    # migration note DA-11926-001: FP16 517 sparse. Neither has INT8: FP8's is taken for it.
    "thor": _device("Jetson Thor T5000", 273.0, fp32=8.06, half=258.7, int8=517.5, fp8=517.5),
    # NVIDIA Ada GPU architecture white paper, appendix A: its FP8 with 32-bit accumulation is half as fast as its INT8.
    "rtx-4090": _device("GeForce RTX 4090", 1008.0, fp32=82.6, half=165.2, int8=660.6, fp8=330.3),
    # NVIDIA H100 white paper and H200 data sheet, SXM5, without sparsity: the same chip, another memory.
    "h100": _device("H100 SXM", 3350.0, fp32=66.9, half=989.4, int8=1978.9, fp8=1978.9),
    "h200": _device("H200 SXM", 4800.0, fp32=66.9, half=989.4, int8=1978.9, fp8=1978.9),
}


@dataclass(frozen=True)
class Part:
    """A component in one inference: `runs` of it, each of which reads `bytes` of weights and does `flops`."""

    name: str
    parameters: int
    precision: str
    bytes: int
    flops: int
    runs: int
    at_most: bool = False
    """The policy may stop before it has done all `runs`."""


@dataclass(frozen=True)
class Floor:
    """What a part takes at least on a device, all its runs together."""

    part: Part
    memory_ms: float
    arithmetic_ms: float

    @property
    def ms(self) -> float:
        return max(self.memory_ms, self.arithmetic_ms)

    @property
    def limit(self) -> str:
        return "memory" if self.memory_ms >= self.arithmetic_ms else "arithmetic"


@dataclass(frozen=True)
class Roofline:
    """What an inference takes at least on the device of that name, all parts in all their runs."""

    device: str
    floors: tuple[Floor, ...]

    @property
    def ms(self) -> float:
        return sum(floor.ms for floor in self.floors)

    @property
    def rate_hz(self) -> float:
        """The predicted rate: inferences a second that take just that long; 0 where there is nothing to compute."""
        return 1e3 / self.ms if self.ms else 0.0

    @property
    def most_tokens(self) -> int:
        """For how many tokens that is, where the policy may write fewer; else 0."""
        return next((floor.part.runs + 1 for floor in self.floors if floor.part.at_most), 0)


def device(name: str) -> Device:
    """The device of that name; `EdgeError` where the table has none."""
    if name not in DEVICES:
        raise EdgeError(f'--device: there is no "{name}"{did_you_mean(name, DEVICES)}')
    return DEVICES[name]


def runs(head: Head, steps: int = 0) -> dict[str, int]:
    """How often each component runs in one inference, of token heads at most; `steps` is as in `parts`."""
    if steps and not isinstance(head, FlowSpec):
        raise EdgeError("--steps: this policy has no flow")
    if isinstance(head, FlowSpec) and not 0 <= steps <= head.steps:
        raise EdgeError(f"--steps {steps}: this bundle takes 1 to {head.steps} flow steps")
    often = dict.fromkeys(GRAPHS[type(head)], 1)
    if isinstance(head, FlowSpec):
        often["step"] = steps or head.steps
    elif isinstance(head, TokenSpec):
        often["decode"] = head.max_new - 1  # the prefill graph gives the first token
    return often


def parts(manifest: Manifest, precision: Iterable[str] = (), steps: int = 0) -> list[Part]:
    """The components of a bundle as one inference runs them.

    `precision`: what if all but the image graph, which is no part of the model, were of P ("P") or one component were
    ("COMPONENT=P"). `steps`: flow steps, 0 for the bundle's own. A guide graph, which runs in the place of the step
    where a chunk is guided, does not run here. Raise `EdgeError` for names that there are not.
    """
    head = manifest.spec.head
    stops_early = isinstance(head, TokenSpec) and not isinstance(head.scheme, BinScheme)
    often = runs(head, steps) | ({GUIDE: 0} if GUIDE in manifest.graphs else {})
    asked = _asked(precision, [name for name in often if name != "image"])
    found = []
    for name, count in often.items():
        cost = manifest.costs[name]
        own = _STORED.get(cost.precision, cost.precision)
        chosen = asked.get(name, own)
        read = cost.bytes if chosen == own else cost.bytes * BITS[chosen] // _bits(name, own)
        found.append(
            Part(name, cost.parameters, chosen, read, cost.flops, count, at_most=stops_early and name == "decode")
        )
    return found


def roofline(found: Iterable[Part], name: str) -> Roofline:
    """What the parts take at least on the device `name`; `EdgeError` where it does not compute in their precision."""
    on = device(name)
    return Roofline(name, tuple(_floor(part, on) for part in found))


def _floor(part: Part, on: Device) -> Floor:
    if part.precision not in on.peak:
        raise EdgeError(f"{part.name}: {on.title} has no {part.precision} arithmetic; it has {', '.join(on.peak)}")
    memory, arithmetic = part.bytes / on.bandwidth, part.flops / on.peak[part.precision]
    return Floor(part, part.runs * memory * 1e3, part.runs * arithmetic * 1e3)


def _asked(precision: Iterable[str], components: list[str]) -> dict[str, str]:
    """Component → precision, of those that were asked for; the later of two counts."""
    asked: dict[str, str] = {}
    for given in precision:
        component, equals, name = given.rpartition("=")
        if equals and component not in components:
            raise EdgeError(f'--precision {given}: there is no "{component}"{did_you_mean(component, components)}')
        if name not in BITS:
            raise EdgeError(f'--precision {given}: there is no "{name}"{did_you_mean(name, BITS)}')
        asked |= dict.fromkeys([component] if equals else components, name)
    return asked


def _bits(component: str, precision: str) -> int:
    if precision not in BITS:
        raise EdgeError(f'costs.{component}.precision: there is no "{precision}"{did_you_mean(precision, BITS)}')
    return BITS[precision]
