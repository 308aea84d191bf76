"""An instruction becomes tokens, as the bundle's prompt spec says, with the bundle's own `tokenizer.json`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from edge_runtime.bundle import PromptSpec
from edge_runtime.errors import BundleError, InstructionError
from edge_runtime.policies.base import Prompt


class PromptTokenizer:
    """Cleans as pi0 does (openpi `PaligemmaTokenizer`): strip, `_` and newline become spaces; BOS; the end on its own.

    The references cut what is too long, so that the robot does something else than it was told; this refuses it.
    """

    def __init__(self, path: Path, spec: PromptSpec) -> None:
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing narrower
            raise BundleError(f"{path}: not a tokenizer this runtime can read ({error})") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._spec = spec
        self._before, _, self._after = spec.template.partition("{instruction}")

    def encode(self, instruction: str) -> Prompt:
        """Tokens and mask [max_tokens] of `instruction`; `InstructionError` where it is empty, too long or no text."""
        spec, text = self._spec, instruction.strip().replace("_", " ").replace("\n", " ")
        if not text.strip():
            raise InstructionError("the instruction is empty; say what the robot is to do")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            where = f"character {error.start + 1} of the instruction"
            raise InstructionError(f"{where} is no text: say it in UTF-8") from error
        ids = [] if spec.bos_id is None else [spec.bos_id]
        ids += self._ids(self._before + text) + self._ids(self._after)
        if len(ids) > spec.max_tokens:
            raise InstructionError(
                f"the instruction has {len(ids)} tokens, this policy takes {spec.max_tokens}: shorten it "
                f"({instruction.strip()[:40]!r}…)"
            )
        tokens = np.full(spec.max_tokens, spec.pad_id, np.int64)
        tokens[: len(ids)] = ids
        return Prompt(instruction, tokens, np.arange(spec.max_tokens) < len(ids))

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids
