"""`edge export` at full size: seconds and peak resident memory, on random weights that are made here and thrown away.

    python -m benchmarks.export_full_size [--model pi0|smolvla] [--keep DIR] [--json FILE]

pi0 has 3.24 B parameters in bfloat16 (6.5 GB), its bundle is float32 (12 GB): the working folder needs 20 GB.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from rich.progress import track
from torch import nn

from edge_runtime.bundle_spec import CameraSpec, FlowSpec, Normalisation, PolicySpec, PromptSpec, VectorSpec
from export.layouts.lerobot_files import PREFIX, WEIGHTS
from export.lerobot_save import write_settings
from export.models import smolvla
from export.models.decoder import GEMMA
from export.models.pi0 import Pi0, Pi0Config, published_name
from export.models.smolvla import SmolVla, SmolVlaConfig
from export.models.smolvlm import SMOLVLM
from export.models.vit import SIGLIP

RESULTS = Path(__file__).with_name("results") / "export_full_size.json"
TOKENIZER = Path(__file__).with_name("demo") / "checkpoint" / "tokenizer.json"
SCRATCH = Path("runs")
CAMERAS, FRAME, JOINTS = ("base", "wrist"), (480, 640), 7
LIMIT_GIB = 10.0
"""The most that an export may hold at a time."""
_BLOCK = 1 << 22


def main() -> int:
    """Export each model in a process of its own and tell what it took. Exit code 1: more than the limit."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--model", choices=sorted(MODELS), action="append", help="only this one")
    parser.add_argument("--keep", metavar="DIR", type=Path, help="work there and leave checkpoint and bundle")
    parser.add_argument("--json", metavar="FILE", type=Path, default=RESULTS, help=f"default {RESULTS.name}")
    asked = parser.parse_args()
    found = {name: measure(name, asked.keep) for name in asked.model or sorted(MODELS)}
    report = {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "limit_gib": LIMIT_GIB, "models": found}
    asked.json.write_text(json.dumps(report, indent=2) + "\n")
    for name, row in found.items():
        print(f"{name:8} {row['parameters'] / 1e9:.2f} B  {row['seconds']:.0f} s  peak {row['peak_gib']:.2f} GiB")
    print(asked.json)
    return 0 if all(row["peak_gib"] <= LIMIT_GIB for row in found.values()) else 1


def measure(name: str, keep: Path | None) -> dict[str, Any]:
    """Make the checkpoint, export it, and say what the export took."""
    SCRATCH.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="full-size-", dir=SCRATCH)) if keep is None else keep / name
    try:
        checkpoint = folder / "checkpoint"
        checkpoint.mkdir(parents=True, exist_ok=True)
        parameters = MODELS[name](checkpoint)
        command = [sys.executable, "-m", "edge_runtime", "export", str(checkpoint), "-o", str(folder / "bundle")]
        began = time.monotonic()
        export = subprocess.Popen([*command, "--json", str(folder / "inspect.json")], stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(export.pid, 0)
        if status:
            raise SystemExit(f"{name}: the export failed with exit code {os.waitstatus_to_exitcode(status)}")
        seconds = time.monotonic() - began
        files = json.loads((folder / "inspect.json").read_text())["manifest"]["files"]
        return {
            "parameters": parameters,
            "seconds": round(seconds, 1),
            "peak_gib": round(used.ru_maxrss / (1 << 20), 3),
            "checkpoint_bytes": (checkpoint / WEIGHTS).stat().st_size,
            "bundle_bytes": sum(entry["size"] for entry in files.values()),
        }
    finally:
        if keep is None:
            shutil.rmtree(folder)


def pi0(out: Path) -> int:
    """A pi0 as published: So400m, Gemma 2B, an expert of 300 M, two cameras of three. Returns its parameters."""
    config = Pi0Config(SIGLIP["so400m"], GEMMA["gemma_2b"], GEMMA["gemma_300m"])
    with torch.device("meta"):
        model = Pi0(config)
    joints = VectorSpec(tuple(f"joint_{i}" for i in range(JOINTS)), ("rad",) * JOINTS, config.state_padded)
    normal = Normalisation("mean_std", (0.0,) * JOINTS, (1.0,) * JOINTS)
    spec = PolicySpec(
        cameras=tuple(CameraSpec(name, *FRAME) for name in CAMERAS),
        state=joints,
        action=joints,
        horizon=config.horizon,
        dt_s=0.02,
        control_mode="absolute",
        head=FlowSpec(10, 1.0, 0.0, ()),
        prompt=PromptSpec("{instruction}\n", 48, None, 0),
        state_normalisation=normal,
        action_normalisation=normal,
    )
    write_settings(config, spec, TOKENIZER, out)
    return write_weights(model, lambda name: PREFIX + published_name(name), out / WEIGHTS)


def smol(out: Path) -> int:
    """A SmolVLA as published: SmolVLM2-500M, sixteen of its layers. Returns its parameters."""
    vlm = SMOLVLM["SmolVLM2-500M-Video-Instruct"]
    language, expert = smolvla.decoders(vlm.language, 16, -1, 0.75)
    with torch.device("meta"):
        model = SmolVla(SmolVlaConfig(vlm.vision, language, expert, vlm.scale_factor, vlm.vocab))
    images = {f"observation.images.{n}": {"type": "VISUAL", "shape": [3, *FRAME]} for n in CAMERAS}
    config = {
        "type": "smolvla",
        "use_peft": False,
        "input_features": {**images, "observation.state": {"type": "STATE", "shape": [6]}},
        "output_features": {"action": {"type": "ACTION", "shape": [6]}},
        "chunk_size": 50,
        "tokenizer_max_length": 48,
        "max_state_dim": 32,
        "max_action_dim": 32,
        "vlm_model_name": "HuggingFaceTB/SmolVLM2-500M-Video-Instruct",
    }
    (out / "config.json").write_text(json.dumps(config))
    for name, kind in (("pre", "normalizer_processor"), ("post", "unnormalizer_processor")):
        step = {"registry_name": kind, "config": {"norm_map": {}}}
        (out / f"policy_{name}processor.json").write_text(json.dumps({"steps": [step]}))
    shutil.copyfile(TOKENIZER, out / "tokenizer.json")
    names = frozenset(name for name, _ in model.named_parameters())
    return write_weights(model, lambda name: PREFIX + smolvla.source(name, names, model.config).name, out / WEIGHTS)


MODELS: dict[str, Callable[[Path], int]] = {"pi0": pi0, "smolvla": smol}


def write_weights(model: nn.Module, stored_name: Callable[[str], str], path: Path) -> int:
    """Write random bfloat16 weights for a model on the meta device, one tensor at a time. Returns how many numbers."""
    shapes = {stored_name(name): tuple(p.shape) for name, p in model.named_parameters()}
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    noise = torch.randn(_BLOCK, generator=torch.Generator().manual_seed(0))
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for shape in track(list(shapes.values()), description="random weights"):
            scale = math.prod(shape[1:]) ** -0.5 if len(shape) > 1 else 0.1
            block = (noise * scale).to(torch.bfloat16).view(torch.int16).numpy()
            for count in _parts(math.prod(shape), len(block)):
                file.write(block[:count].tobytes())
    return end // 2


def _parts(total: int, most: int) -> Iterator[int]:
    while total > 0:
        yield min(total, most)
        total -= most


if __name__ == "__main__":
    sys.exit(main())
