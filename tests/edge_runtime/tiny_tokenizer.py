"""A tokenizer of letters and digits with PaliGemma's conventions: <pad> 0, <eos> 1, <bos> 2, <unk> 3."""

from __future__ import annotations

import json
from pathlib import Path

MARKS = ("<pad>", "<eos>", "<bos>", "<unk>")
WORDS = (*MARKS, "▁", "\n", *"abcdefghijklmnopqrstuvwxyz:", "up", "▁\n", *"0123456789-,;")
IDS = {word: i for i, word in enumerate(WORDS)}


def write(path: Path) -> Path:
    """Write `tokenizer.json`. It sets truncation, padding and BOS of its own, which the runtime must not obey."""
    from tokenizers import AddedToken, Tokenizer, models, normalizers, processors

    made = Tokenizer(models.BPE(IDS, [("u", "p"), ("▁", "\n")], unk_token="<unk>"))
    made.normalizer = normalizers.Replace(" ", "▁")
    made.add_special_tokens([AddedToken(mark, normalized=False) for mark in MARKS])
    made.post_processor = processors.TemplateProcessing("<bos> $A", special_tokens=[("<bos>", 2)])
    made.enable_truncation(4)
    made.enable_padding(length=20)
    made.save(str(path))
    assert json.loads(path.read_text())["truncation"]
    return path
