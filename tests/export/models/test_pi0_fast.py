"""pi0-FAST, whatever its weights: a cache is as good as the whole sequence, padding is not seen, logits are rows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from export import layouts
from export.checkpoint import Checkpoint
from export.family import families
from export.layouts.options import Options
from export.loading import load_model
from export.models.common import additive, positions_of
from export.models.decoder import GEMMA
from export.models.pi0 import HEAD
from export.models.pi0_fast import FAMILY, Pi0Fast, Pi0FastConfig
from export.models.vit import SIGLIP
from tests.export import tiny_pi, tiny_rt2
from tests.export.tiny_pi import LEROBOT_FAST, OPENPI_FAST, TOKEN_IDS, VOCAB

BOS, TEXT, VALID, COUNT = tiny_pi.ID["<bos>"], 9, 6, 5
ATOL = 1e-5


def model(config: Pi0FastConfig = LEROBOT_FAST) -> Pi0Fast:
    made = tiny_pi.model("pi0_fast", config)
    assert isinstance(made, Pi0Fast)
    return made


def inputs(seed: int = 1, cameras: int = 2) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    size = tiny_pi.VISION.image
    return {
        "pixels": torch.rand(1, cameras, 3, size, size, generator=g) * 2 - 1,
        "tokens": torch.randint(4, VOCAB, (1, TEXT), generator=g),
        "token_mask": torch.arange(TEXT)[None] < VALID,
    }


def near(found: Tensor, wanted: Tensor, atol: float = ATOL) -> None:
    torch.testing.assert_close(found, wanted, rtol=0, atol=atol)


def written(made: Pi0Fast, given: dict[str, Tensor], tokens: list[int]) -> list[Tensor]:
    """The logits after the prompt and after each of `tokens`, with a cache of static size as the runtime keeps it."""
    logits, keys, values, mask = made.prefill(**given)
    length, found = mask.shape[1], [logits]
    keys, values = (torch.nn.functional.pad(x, (0, 0, 0, len(tokens))) for x in (keys, values))
    mask = torch.nn.functional.pad(mask, (0, len(tokens)))
    for slot, token in enumerate(tokens, start=length):
        logits, new_keys, new_values = made.decode(torch.tensor([[token]]), mask, keys, values)
        keys[:, :, :, slot : slot + 1], values[:, :, :, slot : slot + 1] = new_keys, new_values
        mask[:, slot] = True
        found.append(logits)
    return found


def whole(made: Pi0Fast, given: dict[str, Tensor], tokens: list[int]) -> list[Tensor]:
    """The same without a cache: the prefix sees itself, what is written sees everything up to itself."""
    text, mask = given["tokens"], given["token_mask"]
    if made.config.bos is not None:
        text = torch.cat([text, torch.tensor([[made.config.bos]])], dim=1)
        mask = torch.cat([mask, torch.tensor([[True]])], dim=1)
    x, mask = made.embed_prefix(given["pixels"], text, mask)
    length, more = x.shape[1], len(tokens)
    x = torch.cat([x, made.language.embed(torch.tensor([tokens], dtype=torch.int64))], dim=1)
    mask = torch.cat([mask, torch.ones(1, more, dtype=torch.bool)], dim=1)
    sees = mask.expand(length + more, -1).clone()
    for row in range(length + more):
        sees[row, max(length, row + 1) :] = False
    positions = positions_of(mask)
    positions[:, length:] += made.config.decode_offset
    hidden, _, _ = made.language(x, positions, additive(sees)[None])
    last = int(mask[0, :length].nonzero()[-1])
    return [made.head(hidden[:, i]) for i in (last, *range(length, length + more))]


@torch.no_grad()
@pytest.mark.parametrize("config", [LEROBOT_FAST, OPENPI_FAST], ids=["lerobot", "openpi"])
def test_decoding_with_a_cache_is_the_whole_sequence_at_once(config: Pi0FastConfig) -> None:
    made, given, tokens = model(config), inputs(), list(TOKEN_IDS[3 : 3 + COUNT])
    found = written(made, given, tokens)
    for a, b in zip(found, whole(made, given, tokens), strict=True):
        near(a, b)
    assert all((a - b).abs().max() > 1e-3 for i, a in enumerate(found) for b in found[:i])


@torch.no_grad()
def test_what_is_written_is_seen_by_what_follows_alone() -> None:
    made, given = model(), inputs()
    a, b = written(made, given, [7, 8, 9]), written(made, given, [7, 20, 9])
    near(a[1], b[1], 0.0)
    assert all((x - y).abs().max() > 1e-4 for x, y in zip(a[2:], b[2:], strict=True))


@torch.no_grad()
@pytest.mark.parametrize("config", [LEROBOT_FAST, OPENPI_FAST], ids=["lerobot", "openpi"])
def test_nothing_depends_on_how_far_a_prompt_is_padded(config: Pi0FastConfig) -> None:
    made, given, tokens = model(config), inputs(), [7, 8]
    short = {**given, "tokens": given["tokens"][:, :VALID], "token_mask": given["token_mask"][:, :VALID]}
    filler = torch.full((1, 4), 5)
    long = {
        **given,
        "tokens": torch.cat([given["tokens"], filler], dim=1),
        "token_mask": torch.cat([given["token_mask"], filler < 0], dim=1),
    }
    for a, b, c in zip(*(written(made, x, tokens) for x in (given, short, long)), strict=True):
        near(a, b)
        near(a, c)


@torch.no_grad()
def test_bos_behind_the_padding_is_bos_behind_the_prompt() -> None:
    """lerobot sets it there; masked positions do not advance the count."""
    given = inputs()
    text = torch.cat([given["tokens"][:, :VALID], torch.tensor([[BOS]])], dim=1)
    plain = {**given, "tokens": text, "token_mask": torch.ones_like(text, dtype=torch.bool)}
    with_bos, without = model(), model(replace(LEROBOT_FAST, bos=None))
    for a, b in zip(written(with_bos, given, [7, 8]), written(without, plain, [7, 8]), strict=True):
        near(a, b)
    assert (written(without, given, [])[0] - written(with_bos, given, [])[0]).abs().max() > 1e-3


@torch.no_grad()
def test_an_offset_moves_what_is_written_and_nothing_else() -> None:
    given = inputs()
    a, b = (written(model(replace(OPENPI_FAST, decode_offset=offset)), given, [7, 8]) for offset in (0, 1))
    near(a[0], b[0], 0.0)
    assert all((x - y).abs().max() > 1e-4 for x, y in zip(a[1:], b[1:], strict=True))


@torch.no_grad()
def test_a_masked_camera_is_as_if_it_were_not_there() -> None:
    made, given = model(), inputs()
    masked = {**given, "camera_mask": torch.tensor([[False, True]])}
    alone = {**given, "pixels": given["pixels"][:, 1:]}
    for a, b in zip(written(made, masked, [7]), written(made, alone, [7]), strict=True):
        near(a, b)
    assert (written(made, masked, [])[0] - written(made, given, [])[0]).abs().max() > 1e-3


# against transformers


def reference(path: Path) -> Any:
    """transformers' PaliGemma with the weights of a checkpoint's file; skips where it is not installed."""
    from safetensors.torch import load_file

    library = tiny_rt2.transformers()
    told = json.loads(json.dumps(tiny_rt2.HF_CONFIG))
    told["text_config"]["vocab_size"] = told["image_token_index"] = VOCAB
    config = library.PaliGemmaConfig(**told, tie_word_embeddings=False)
    theirs = library.PaliGemmaForConditionalGeneration(config).eval()
    lead = "model.paligemma_with_expert.paligemma."
    weights = {k.removeprefix(lead): v for k, v in load_file(path).items() if k.startswith(lead)}
    left = theirs.load_state_dict(weights, strict=False)
    assert (left.unexpected_keys, left.missing_keys) == ([], [])
    return theirs


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pi0Fast, Any]:
    folder = tmp_path_factory.mktemp("fast")
    checkpoint = tiny_pi.lerobot(folder / "checkpoint", "pi0_fast")
    ours = load_model(layouts.read(checkpoint, Options(fast_tokenizer=tiny_pi.fast_tokenizer(folder / "fast"))))
    assert isinstance(ours, Pi0Fast)
    return ours, reference(checkpoint / "model.safetensors")


@torch.no_grad()
@pytest.mark.parametrize("seed", range(3))
def test_logits_keys_and_values_are_transformers(pair: tuple[Pi0Fast, Any], seed: int) -> None:
    """The prefix of the whole pi family, and the head's rows: 2 cameras, 6 tokens, BOS, then two tokens more."""
    (ours, theirs), given = pair, inputs(seed)
    images = torch.full((1, 2 * tiny_pi.VISION.patches), VOCAB)
    ids = torch.cat([images, given["tokens"][:, :VALID], torch.tensor([[BOS]])], dim=1)
    out = theirs(
        input_ids=ids,
        pixel_values=given["pixels"][0],
        attention_mask=torch.ones_like(ids),
        token_type_ids=torch.zeros_like(ids),
        position_ids=torch.arange(ids.shape[1])[None],  # PaliGemma's own begin at 1
        use_cache=True,
    )
    logits, keys, values, mask = ours.prefill(**given)
    for layer in range(tiny_pi.LANGUAGE.depth):
        cache = out.past_key_values.layers[layer]
        near(keys[layer][:, :, mask[0]], cache.keys)
        near(values[layer][:, :, mask[0]], cache.values)
    rows, tokens = list(TOKEN_IDS), [TOKEN_IDS[int(logits.argmax())], TOKEN_IDS[4]]
    wanted = [out.logits[:, -1, rows]]
    assert wanted[0].std() > 0.1
    for step, token in enumerate(tokens):
        out = theirs(
            input_ids=torch.tensor([[token]]),
            past_key_values=out.past_key_values,
            attention_mask=torch.ones(1, ids.shape[1] + step + 1),
            position_ids=torch.tensor([[ids.shape[1] + step]]),
            use_cache=True,
        )
        wanted.append(out.logits[:, -1, rows])
    for a, b in zip(written(ours, given, tokens), wanted, strict=True):
        near(a, b, 2e-5)


# graphs and names


@pytest.fixture(scope="module")
def lerobot(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("lerobot")
    fast = tiny_pi.fast_tokenizer(folder / "fast")
    return layouts.read(tiny_pi.lerobot(folder / "c", "pi0_fast"), Options(fast_tokenizer=fast))


@torch.no_grad()
def test_the_decode_graph_reads_what_the_prefill_graph_writes(lerobot: Checkpoint) -> None:
    """BOS takes a place behind the prompt, and there is room for every token that may be written."""
    made = model()
    graphs = FAMILY.graphs(made, lerobot)
    first, more = (graph.signature() for graph in graphs.values())
    assert list(first.inputs) == ["pixels", "camera_mask", "tokens", "token_mask"]
    outputs = dict(zip(first.outputs, graphs["prefill"](*first.inputs.values()), strict=True))
    prefix = 2 * tiny_pi.VISION.patches + tiny_pi.TEXT + 1
    assert outputs["prefix_mask"].shape == (1, prefix)
    assert outputs["keys"].shape[3] == prefix + 24
    assert not outputs["keys"][:, :, :, prefix:].any()
    for name in ("keys", "values"):
        assert more.inputs[name].shape == outputs[name].shape
    assert more.inputs["cache_mask"].shape == (1, prefix + 24)
    logits, new_keys, _ = graphs["decode"](*more.inputs.values())
    assert (logits.shape, new_keys.shape[3]) == ((1, len(TOKEN_IDS)), 1)


def test_constants_name_the_heads_rows(lerobot: Checkpoint) -> None:
    found = FAMILY.constants(model(), lerobot)
    assert {name: x.tolist() for name, x in found.items()} == {"token_ids": list(TOKEN_IDS)}
    assert found["token_ids"].dtype == torch.int64


def test_a_tied_head_is_the_tables_rows() -> None:
    tied = FAMILY.source("head.weight", frozenset(), LEROBOT_FAST)
    assert (tied.name.rpartition(".model.")[2], tied.rows) == ("language_model.embed_tokens.weight", TOKEN_IDS)
    assert FAMILY.source("head.weight", frozenset({HEAD}), LEROBOT_FAST).name == HEAD


def test_published_sizes_make_the_published_number_of_parameters() -> None:
    """PaliGemma's 412 M and 2509 M (facts of pi0), and a row of the head for every action token."""
    with torch.device("meta"):
        made = Pi0Fast(Pi0FastConfig(SIGLIP["so400m"], GEMMA["gemma_2b"], tuple(range(2060))))
    millions = [round(sum(p.numel() for p in part.parameters()) / 1e6) for part in (made.vision, made.language)]
    assert millions == [412, 2509]
    assert made.head.weight.shape == (2060, 2048)
    assert FAMILY in families()


@pytest.mark.parametrize("token_ids", [(), (-1, 2), (1, VOCAB)])
def test_tokens_that_cannot_be(token_ids: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=f"action tokens do not fit a vocabulary of {VOCAB}"):
        replace(LEROBOT_FAST, token_ids=token_ids)
