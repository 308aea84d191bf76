"""Sealed bundles of token policies without a model: tokenizers of a few tokens, constants, graphs of a few bytes."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from edge_runtime.bundle import Bundle, open_bundle, seal
from edge_runtime.bundle_spec import (
    BinScheme,
    CameraSpec,
    Cost,
    FastScheme,
    IntegerScheme,
    Manifest,
    Normalisation,
    PolicySpec,
    PromptSpec,
    Source,
    TokenSpec,
    VectorSpec,
)

HORIZON, DIMS = 3, 2
JOINTS = VectorSpec(("a", "b"), ("rad", "rad"), 2)
WORDS = ("<pad>", "<eos>", "▁", *"0123456789", "12", "-", "\n", "Action", ":", "|")
"""What the text tokenizer knows. Behind it stand 300 ids for FAST tokens, as at the end of a real vocabulary."""
ID = {word: i for i, word in enumerate(WORDS)}
TOP = len(WORDS) + 299
MIN_TOKEN, SCALE = -70, 10.0

BINS = BinScheme()
INTEGERS = IntegerScheme(stop=ID["<eos>"])
FAST = FastScheme("fast_tokenizer.json", (ID["Action"], ID[":"], ID["▁"]), ID["|"], TOP, MIN_TOKEN, SCALE, True)

GRAPHS = ("image", "prefill", "decode")
MANIFEST = Manifest(
    source=Source("pi0fast", "lerobot", "c" * 64, "checkpoint"),
    spec=PolicySpec(
        cameras=(CameraSpec("base", 2, 2, missing="refuse"),),
        state=JOINTS,
        action=JOINTS,
        horizon=HORIZON,
        dt_s=0.05,
        control_mode="absolute",
        head=TokenSpec(HORIZON * DIMS, BINS),
        prompt=PromptSpec("{instruction}", 4, None, 0),
        state_normalisation=Normalisation("none"),
        action_normalisation=Normalisation("mean_std", (1.0, 2.0), (10.0, 100.0)),
    ),
    graphs={name: f"{name}.onnx" for name in GRAPHS},
    costs={name: Cost(0, "float32", 0, 0) for name in GRAPHS},
    constants="constants.safetensors",
    tokenizer="tokenizer.json",
    accuracy="accuracy.json",
    probes="probes.safetensors",
    verdict="pass",
)


def text_tokenizer() -> Tokenizer:
    """Words of `WORDS`, decoded as Gemma's."""
    made = Tokenizer(models.BPE(ID, [("1", "2")]))
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    return made


def fast_tokenizer() -> Tokenizer:
    """Every byte, and a few pairs of those that stand for small coefficients, under the byte-level BPE of FAST."""
    vocabulary = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    pairs = list(itertools.islice(itertools.product("FGE", "FGE"), 8))
    vocabulary |= {left + right: 256 + i for i, (left, right) in enumerate(pairs)}
    made = Tokenizer(models.BPE(vocabulary, pairs))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return made


def write(
    folder: Path,
    head: TokenSpec,
    constants: dict[str, np.ndarray[Any, Any]],
    fast: Tokenizer | Path | None = None,
    **spec: Any,
) -> Bundle:
    """A sealed bundle of `head`; `fast` is its FAST tokenizer, or the file of one, and `spec` changes the rest."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*MANIFEST.graphs.values(), MANIFEST.accuracy, MANIFEST.probes):
        (folder / name).write_bytes(b"{}")
    text_tokenizer().save(str(folder / MANIFEST.tokenizer))
    if isinstance(fast, Path):
        (folder / FAST.tokenizer).write_bytes(fast.read_bytes())
    elif fast is not None:
        fast.save(str(folder / FAST.tokenizer))
    save_file(constants, folder / MANIFEST.constants)
    replace = msgspec.structs.replace
    seal(folder, replace(MANIFEST, spec=replace(MANIFEST.spec, head=head, **spec)))
    return open_bundle(folder)


def bins(folder: Path, scheme: BinScheme = BINS, n: int = 5, **constants: np.ndarray[Any, Any]) -> Bundle:
    """`n` bins: token 100 means -1.0, 101 the next, and so on up to 1.0."""
    table = {"token_ids": 100 + np.arange(n), "values": np.linspace(-1, 1, n, dtype=np.float32)} | constants
    return write(folder, TokenSpec(HORIZON * (DIMS + scheme.terminate), scheme), table)


def integers(folder: Path, scheme: IntegerScheme = INTEGERS, n: int = 128) -> Bundle:
    """`n` integers, k means k / 100; the head writes every word."""
    values = np.arange(n, dtype=np.float32) / np.float32(100)
    return write(folder, TokenSpec(40, scheme), {"token_ids": np.arange(len(WORDS)), "values": values})


def fast(folder: Path, relaxed: bool = True, max_new: int = 40, on_malformed: str = "fault") -> Bundle:
    """The head writes every word and every FAST token."""
    head = TokenSpec(max_new, msgspec.structs.replace(FAST, relaxed=relaxed), on_malformed)  # type: ignore[arg-type]
    return write(folder, head, {"token_ids": np.arange(TOP + 1)}, fast_tokenizer())
