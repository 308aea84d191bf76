"""An instruction becomes tokens, as the bundle's prompt spec says, with the bundle's own `tokenizer.json`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from edge_runtime.bundle_spec import PromptSpec
from edge_runtime.errors import BundleError, InstructionError
from edge_runtime.policies.base import Prompt

_CLEAN: dict[str, Callable[[str], str]] = {
    "strip": str.strip,
    "underscore": lambda text: text.replace("_", " "),
    "newline": lambda text: text.replace("\n", " "),
    "lower": str.lower,
}
BINS = 256
"""A state in words is the number of each value's bin of [-1, 1]."""
_EDGES = np.linspace(-1.0, 1.0, BINS + 1)[:-1]
_LONGEST_BIN = BINS - 1


class PromptTokenizer:
    """References cut a prompt that is too long, so that the robot does something else than told; this refuses it."""

    def __init__(self, path: Path | None, spec: PromptSpec, state_dims: int = 0) -> None:
        self._tokenizer = None if path is None else _open(path)
        self._spec, self._state_dims = spec, state_dims

    def encode(self, instruction: str) -> Prompt:
        """Tokens and mask [max_tokens] of `instruction`; `InstructionError` where it is empty, too long or no text.

        Where the prompt tells the state in words, there is room for every dimension's, and `with_state` fills it in.
        """
        return self._encode(instruction, [_LONGEST_BIN] * self._state_dims)

    def with_state(self, prompt: Prompt, state: NDArray[np.float64]) -> Prompt:
        """The prompt that tells `state` (normalised, [dims]) in words; the same one where it tells none."""
        if not self._spec.reads_state or not prompt.instruction:
            return prompt
        return self._encode(prompt.instruction, (np.digitize(state, _EDGES) - 1).tolist())

    def from_tokens(self, tokens: NDArray[Any], mask: NDArray[Any]) -> Prompt:
        """A prompt that somebody else tokenized: ids [n] and which of them count, bool [n]."""
        if self._spec.end_id is not None and len(mask) == len(tokens) + 1:
            mask = mask[:-1]  # as OpenVLA's reference wants it: of the length that the prompt will have
        if tokens.shape != mask.shape or tokens.ndim != 1:
            raise InstructionError(f"tokens are {list(tokens.shape)} and their mask {list(mask.shape)}, expected [n]")
        ids = [int(token) for token, counts in zip(tokens, mask, strict=True) if counts]
        if not ids:
            raise InstructionError("the mask leaves no token of the prompt")
        return self._prompt("", ids)

    def _encode(self, instruction: str, bins: list[int]) -> Prompt:
        spec, text = self._spec, instruction
        for step in spec.clean:
            text = _CLEAN[step](text)
        if not text.strip():
            raise InstructionError("the instruction is empty; say what the robot is to do")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            where = f"character {error.start + 1} of the instruction"
            raise InstructionError(f"{where} is no text: say it in UTF-8") from error
        before, _, after = spec.template.replace("{state}", " ".join(map(str, bins))).partition("{instruction}")
        ids = [] if spec.bos_id is None else [spec.bos_id]
        if spec.apart:
            ids += self._ids(before + text) + self._ids(after)
        else:
            ids += self._ids(before + text + after)
        return self._prompt(instruction, ids)

    def _prompt(self, instruction: str, ids: list[int]) -> Prompt:
        spec = self._spec
        beyond = [token for token in ids if token < 0 or 0 < spec.vocab <= token]
        if beyond:
            raise InstructionError(f"token {beyond[0]} is not in the model's table of {spec.vocab}")
        if spec.end_id is not None and ids[-1:] != [spec.end_id]:
            ids = [*ids, spec.end_id]
        if len(ids) > spec.max_tokens:
            said = f" ({instruction.strip()[:40]!r}…)" if instruction else ""
            raise InstructionError(
                f"the instruction has {len(ids)} tokens, this policy takes {spec.max_tokens}: shorten it{said}"
            )
        tokens = np.full(spec.max_tokens, spec.pad_id, np.int64)
        tokens[: len(ids)] = ids
        return Prompt(instruction, tokens, np.arange(spec.max_tokens) < len(ids))

    def _ids(self, text: str) -> list[int]:
        if self._tokenizer is None:
            raise InstructionError("this bundle has no tokenizer: give tokens, or export it with --tokenizer")
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids


def _open(path: Path) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise BundleError(f"{path}: not a tokenizer this runtime can read ({error})") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True  # "<image>" in an instruction is eight letters
    return tokenizer
