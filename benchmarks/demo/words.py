"""The demo policy's words: the instructions it learns, and the small tokenizer that reads any text.

PaliGemma's conventions: pad 0, eos 1, bos 2, unknown 3, "\\n" a token of its own, bytes as the way out.
"""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, models, normalizers, trainers

from drivers.sim.cups import COLOURS
from drivers.sim.world import PHRASES

MAX_TOKENS = 24


def instructions() -> list[str]:
    """Every instruction the policy is taught."""
    return [phrase.format(colour) for phrase in PHRASES for colour in COLOURS]


def build() -> Tokenizer:
    """A byte-pair tokenizer over the instructions, with a byte fallback for everything else."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    trainer = trainers.BpeTrainer(
        vocab_size=384,
        show_progress=False,
        special_tokens=["<pad>", "<eos>", "<bos>", "<unk>", "\n", *(f"<0x{i:02X}>" for i in range(256))],
    )
    words = [("▁" + word if i else word) for text in instructions() for i, word in enumerate(text.split())]
    tokenizer.train_from_iterator(words, trainer)
    return tokenizer


def encode(tokenizer: Tokenizer, instruction: str) -> list[int]:
    """Token ids of `instruction` as pi0's preprocessor makes them: cleaned, bos in front, newline behind."""
    text = instruction.strip().replace("_", " ").replace("\n", " ")
    return [2, *tokenizer.encode(text + "\n", add_special_tokens=False).ids]
