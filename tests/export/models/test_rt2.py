"""Our decoder, loaded from what transformers saves, against its PaliGemmaForConditionalGeneration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from export.errors import CheckpointError
from export.models.rt2 import FAMILY, HEADS, Rt2, Rt2Config, published_name
from export.stored import open_safetensors
from export.weights import bind, fill
from tests.export.tiny_rt2 import (
    IMAGE,
    INTEGER_IDS,
    LANGUAGE,
    RARE_IDS,
    VISION,
    VOCAB,
    config,
    reference,
    weights,
    write,
)

CAMERAS, VALID, TEXT, STEPS = 2, 5, 8, 6
ATOL = 2e-5


def load(path: Path, sizes: Rt2Config) -> Rt2:
    with torch.device("meta"):
        made = Rt2(sizes)
    bound = bind(made, open_safetensors(path), lambda n, names: FAMILY.source(n, names, sizes), FAMILY.unused)
    return fill(made, bound).requires_grad_(False).eval()


@pytest.fixture(scope="module", params=["tied", "untied"])
def theirs(request: pytest.FixtureRequest) -> Any:
    return reference(tied=request.param == "tied")


@pytest.fixture(scope="module", params=[INTEGER_IDS, RARE_IDS[::-1]], ids=["integers", "tokens"])
def ours(request: pytest.FixtureRequest, theirs: Any, tmp_path_factory: pytest.TempPathFactory) -> Rt2:
    folder = tmp_path_factory.mktemp("saved")
    theirs.save_pretrained(folder)
    return load(folder / "model.safetensors", config(request.param))


def pixels(seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.rand(1, CAMERAS, 3, VISION.image, VISION.image, generator=g) * 2 - 1


def prompt(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Tokens [1, TEXT] and their mask: `VALID` of them, then padding."""
    g = torch.Generator().manual_seed(seed)
    return torch.randint(4, VOCAB, (1, TEXT), generator=g), torch.arange(TEXT)[None] < VALID


def prefix_ids(seed: int) -> Tensor:
    """The prompt as transformers has it: a place for every patch of every image, then the text without padding."""
    images = torch.full((1, CAMERAS * VISION.patches), IMAGE)
    return torch.cat([images, prompt(seed)[0][:, :VALID]], dim=1)


def given(seed: int) -> dict[str, Tensor]:
    ids = prefix_ids(seed)
    return {
        "input_ids": ids,
        "pixel_values": pixels(seed)[0],
        "attention_mask": torch.ones_like(ids),
        "token_type_ids": torch.zeros_like(ids),
    }


def written(ours: Rt2, seed: int) -> tuple[list[int], list[Tensor]]:
    """`STEPS` tokens chosen greedily, and the logits of each, with a cache as the runtime keeps it."""
    logits, keys, values, mask = ours.prefill(pixels(seed), *prompt(seed))
    length = mask.shape[1]
    room = torch.zeros(*keys.shape[:3], STEPS, keys.shape[4])
    keys, values = torch.cat([keys, room], dim=3), torch.cat([values, room], dim=3)
    mask = torch.cat([mask, torch.zeros(1, STEPS, dtype=torch.bool)], dim=1)
    tokens, found = [], []
    for step in range(STEPS):
        found.append(logits[0])
        tokens.append(ours.config.token_ids[int(logits.argmax())])
        logits, key, value = ours.decode(torch.tensor([[tokens[-1]]]), mask, keys, values)
        keys[:, :, :, length + step], values[:, :, :, length + step] = key[:, :, :, 0], value[:, :, :, 0]
        mask[0, length + step] = True
    return tokens, found


@torch.no_grad()
def test_keys_values_and_logits_of_a_padded_prompt(ours: Rt2, theirs: Any) -> None:
    logits, keys, values, mask = ours.prefill(pixels(), *prompt())
    out = theirs(**given(0), use_cache=True)
    assert mask.sum() == prefix_ids(0).shape[1] < mask.shape[1]
    for layer in range(LANGUAGE.depth):
        cache = out.past_key_values.layers[layer]
        torch.testing.assert_close(keys[layer][:, :, mask[0]], cache.keys, rtol=0, atol=ATOL)
        torch.testing.assert_close(values[layer][:, :, mask[0]], cache.values, rtol=0, atol=ATOL)
    wanted = out.logits[:, -1, list(ours.config.token_ids)]
    assert wanted.std() > 0.1
    torch.testing.assert_close(logits, wanted, rtol=0, atol=ATOL)


@torch.no_grad()
@pytest.mark.parametrize("seed", range(4))
def test_every_token_and_its_logits(ours: Rt2, theirs: Any, seed: int) -> None:
    """Three ways of theirs: a cache filled by hand, no cache at all, and `generate` held to the same tokens."""
    tokens, logits = written(ours, seed)
    allowed, inputs = list(ours.config.token_ids), given(seed)
    prefix = inputs["input_ids"].shape[1]

    out, cached = theirs(**inputs, use_cache=True), []
    for step, token in enumerate(tokens):
        cached.append(out.logits[0, -1])
        out = theirs(
            input_ids=torch.tensor([[token]]),
            past_key_values=out.past_key_values,
            attention_mask=torch.ones(1, prefix + step + 1),
            use_cache=True,
        )
    inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([tokens])], dim=1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    inputs["token_type_ids"] = (torch.arange(prefix + STEPS)[None] >= prefix).long()  # 1: sees what is before it
    whole = theirs(**inputs).logits
    for step, found in enumerate(logits):
        torch.testing.assert_close(found, cached[step][allowed], rtol=0, atol=ATOL)
        torch.testing.assert_close(found, whole[0, prefix - 1 + step][allowed], rtol=0, atol=ATOL)

    generated = theirs.generate(
        **given(seed),
        max_new_tokens=STEPS,
        do_sample=False,
        prefix_allowed_tokens_fn=lambda *_: allowed,
        eos_token_id=None,
    )
    assert generated[0, prefix:].tolist() == tokens
    assert len(set(tokens)) > 1


@torch.no_grad()
def test_restricted_argmax_is_the_full_one_wherever_that_may_be_written(ours: Rt2, theirs: Any) -> None:
    allowed, same = set(ours.config.token_ids), 0
    for seed in range(64):
        full = int(theirs(**given(seed)).logits[0, -1].argmax())
        logits, *_ = ours.prefill(pixels(seed), *prompt(seed))
        if full in allowed:
            same += 1
            assert ours.config.token_ids[int(logits.argmax())] == full
    assert same


@pytest.mark.parametrize(
    "prefixes",
    [
        ("model.language_model.", "model.vision_tower.", "model.multi_modal_projector.", HEADS[0]),
        ("model.language_model.model.", "model.vision_tower.", "model.multi_modal_projector.", HEADS[1]),
        ("language_model.model.", "vision_tower.", "multi_modal_projector.", HEADS[1]),
    ],
    ids=["transformers 4.52", "saved by 5.5", "before 4.52"],
)
@pytest.mark.parametrize("tied", [True, False])
def test_names_of_every_release(tmp_path: Path, prefixes: tuple[str, str, str, str], tied: bool) -> None:
    now = ("model.language_model.", "model.vision_tower.", "model.multi_modal_projector.", HEADS[0])
    stored = {}
    for name, tensor in weights(tied).items():
        old = next(prefix for prefix in now if name.startswith(prefix))
        stored[prefixes[now.index(old)] + name[len(old) :]] = tensor
    stored |= {
        prefixes[1] + "vision_model.embeddings.position_ids": torch.arange(9)[None],
        prefixes[1] + "vision_model.head.probe": torch.zeros(1, 1, VISION.hidden),
    }
    made = load(write(tmp_path, stored) / "model.safetensors", config(RARE_IDS))
    source = weights(tied)
    table = source[published_name("language.embed_tokens.weight", frozenset())]
    torch.testing.assert_close(made.head.weight, (table if tied else source[HEADS[0]])[list(RARE_IDS)])
    torch.testing.assert_close(made.language.embed_tokens.weight, table)
    torch.testing.assert_close(made.projector.bias, source["model.multi_modal_projector.linear.bias"])


def test_the_head_may_be_the_only_copy_of_the_table(tmp_path: Path) -> None:
    stored = weights()
    table = stored.pop(published_name("language.embed_tokens.weight", frozenset()))
    made = load(write(tmp_path, {**stored, HEADS[0]: table}) / "model.safetensors", config())
    torch.testing.assert_close(made.language.embed_tokens.weight, table)
    torch.testing.assert_close(made.head.weight, table[list(INTEGER_IDS)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lm_head.bias": torch.zeros(3)}, "unexpected tensor lm_head.bias"),
        ({"language_model.model.layers.0.mlp.up_proj.weight": None}, "lacks tensor language_model.model.layers.0.mlp"),
    ],
)
def test_names_are_told_as_they_are_stored(tmp_path: Path, change: dict[str, Tensor | None], message: str) -> None:
    """A file of the old names lacks, or has, what the old names are."""
    now, before = "language_model.", "language_model.model."
    old = {name.removeprefix("model.").replace(now, before): tensor for name, tensor in weights().items()}
    stored = {name: tensor for name, tensor in {**old, **change}.items() if tensor is not None}
    with pytest.raises(CheckpointError, match=message):
        load(write(tmp_path, stored) / "model.safetensors", config())


def test_numbers_are_the_centres_of_equal_bins() -> None:
    values = Rt2Config(VISION, LANGUAGE, (5, 3, 4, 2), vocab=VOCAB, bins=4).values()
    assert values.tolist() == [-0.75, -0.25, 0.25, 0.75]


@pytest.mark.parametrize(
    ("token_ids", "message"),
    [((), "do not fit"), ((1, VOCAB), rf"\[{VOCAB}\] do not fit"), ((-1, 2), "do not fit"), ((7, 7), "named twice")],
)
def test_tokens_that_cannot_be(token_ids: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(token_ids)
