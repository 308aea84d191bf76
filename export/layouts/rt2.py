"""A PaliGemma fine-tuned by the RT-2 recipe, as transformers saves it: a directory → `Checkpoint`.

config.json, the processor's file, weights and tokenizer.json are transformers'; action_config.json is ours.
"""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from edge_runtime.bundle_spec import (
    BinScheme,
    CameraSpec,
    IntegerScheme,
    Normalisation,
    PolicySpec,
    PromptSpec,
    TokenSpec,
    VectorSpec,
)
from export.checkpoint import Checkpoint
from export.errors import CheckpointError
from export.json_file import read_json
from export.layouts.action_config import ActionConfig, read_actions
from export.layouts.options import Options
from export.layouts.paligemma_files import CONFIG, Config, language, open_weights, preprocess, vision
from export.layouts.text import open_tokenizer, token_id, tokenizer_file
from export.layouts.vectors import NO_STATE, NONE, numbered, own_names, rate
from export.models.rt2 import Rt2Config

LAYOUT = "huggingface"
FPS = 3.0
"""Of the robots that RT-1 and RT-2 were taught with (https://arxiv.org/abs/2212.06817)."""
CAMERA = "image"
END = "\n"
"""PaliGemma's processor puts it behind every prompt."""


def read(directory: Path, options: Options) -> Checkpoint:
    """Read everything but the weights."""
    path = directory / CONFIG
    config = read_json(path, Config)
    where, actions = read_actions(directory, options)
    tokenizer = tokenizer_file(directory, options.tokenizer)
    tokens = open_tokenizer(tokenizer, config.rows)
    tokens.no_truncation()
    tokens.no_padding()
    head, token_ids = _head(actions, tokenizer, tokens)
    try:
        vit, gemma = vision(path, config), language(path, config)
        sizes = Rt2Config(vit, gemma, token_ids, vocab=config.text_config.vocab_size, bins=actions.bins)
    except ValueError as error:
        raise CheckpointError(f"{path}: with these sizes {error}") from error
    dt_s, who = rate(options.fps, actions.fps, FPS)
    spec = PolicySpec(
        cameras=_cameras(path, actions, options),
        state=NO_STATE,
        action=_vector(actions),
        horizon=actions.horizon,
        dt_s=dt_s,
        control_mode=actions.control_mode,
        head=head,
        prompt=_prompt(where, actions, options.max_tokens or actions.max_tokens, tokenizer, tokens, config.rows),
        state_normalisation=NONE,
        action_normalisation=Normalisation("min_max", actions.low, actions.high),
        pose=actions.pose,
    )
    image = preprocess(directory, sizes.vision.image)
    return Checkpoint("rt2", LAYOUT, sizes, spec, image, open_weights(directory), tokenizer, rate=who)


def _head(actions: ActionConfig, path: Path, tokens: Tokenizer) -> tuple[TokenSpec, tuple[int, ...]]:
    """The head, and every token that it may write."""
    if actions.scheme == "tokens":
        return TokenSpec(actions.numbers, BinScheme(actions.terminate)), actions.token_ids
    stop = token_id(path, tokens, "<eos>")
    spelling, longest = _spelling(path, tokens, actions.bins, actions.numbers)
    scheme = IntegerScheme(stop=stop, terminate=actions.terminate)
    return TokenSpec(longest + 1, scheme), tuple(sorted(spelling | {stop}))


def _spelling(path: Path, tokens: Tokenizer, bins: int, count: int) -> tuple[set[int], int]:
    """Which tokens the integers below `bins` with spaces between are spelt in, and how many `count` of them need.

    A tokenizer may join what stands side by side, so every integer is tried behind and before every other.
    """
    words = [str(i) for i in range(bins)]
    used: set[int] = set()
    for word in words:
        text = " ".join(f"{word} {other}" for other in words) + f" {word}"
        ids = _encode(tokens, text)
        if tokens.decode(ids, skip_special_tokens=False) != text:
            raise CheckpointError(f"{path}: cannot spell {text[:20]!r}…; actions in integers need a tokenizer that can")
        used.update(ids)
    first, later = (max(len(_encode(tokens, before + word)) for word in words) for before in ("", " "))
    return used, first + (count - 1) * later


def _encode(tokens: Tokenizer, text: str) -> list[int]:
    ids: list[int] = tokens.encode(text, add_special_tokens=False).ids
    return ids


def _prompt(where: Path, actions: ActionConfig, room: int, path: Path, tokens: Tokenizer, rows: int) -> PromptSpec:
    """As PaliGemma's processor writes it behind the images: BOS, the text, a newline."""
    template = actions.prompt + END
    if 1 + len(_encode(tokens, template.replace("{instruction}", ""))) >= room:
        raise CheckpointError(f"{where}: max_tokens {room} leaves no room for an instruction in the prompt; raise it")
    bos, pad = token_id(path, tokens, "<bos>"), token_id(path, tokens, "<pad>")
    return PromptSpec(template, room, bos, pad, clean=("strip",), vocab=rows)


def _vector(actions: ActionConfig) -> VectorSpec:
    dims = len(actions.low)
    return VectorSpec(actions.names or numbered("action", dims), actions.units or ("",) * dims, dims)


def _cameras(path: Path, actions: ActionConfig, options: Options) -> tuple[CameraSpec, ...]:
    """The file's, with this robot's sizes; where the file names none, the robot's, and without those either, one."""
    known = actions.cameras or {name: options.cameras[name] for name in own_names(path, options)} or {CAMERA: (0, 0)}
    return tuple(CameraSpec(name, *options.cameras.get(name, size), missing="refuse") for name, size in known.items())
