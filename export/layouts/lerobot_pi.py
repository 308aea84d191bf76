"""pi0, pi0.5 and pi0-FAST in the lerobot layout."""

from __future__ import annotations

from pathlib import Path

from edge_runtime.bundle_spec import TokenSpec
from export.errors import CheckpointError
from export.image import Preprocess
from export.layouts import paligemma
from export.layouts.fast import FILE, read_fast
from export.layouts.lerobot_files import PREPROCESSOR, read_processor
from export.layouts.lerobot_parts import LerobotGiven, Parts
from export.layouts.text import open_tokenizer, token_id


def pi0(given: LerobotGiven) -> Parts:
    config, adaptive = given.config, given.config.type == "pi05"
    sizes = paligemma.flow_config(
        given.path,
        paligemma.read_sizes(given.dims),
        variants=(config.paligemma_variant, config.action_expert_variant),
        adaptive=adaptive,
        horizon=config.chunk_size,
        state_padded=config.max_state_dim,
        action_padded=config.max_action_dim,
        min_period=config.min_period,
        max_period=config.max_period,
    )
    template, clean = "{instruction}\n", paligemma.SPACED[:1]
    if adaptive:
        template, clean = "Task: {instruction}, State: {state};\nAction: ", paligemma.SPACED
        if not _told_state(given.directory):
            template = "Task: {instruction};\nAction: "
    return Parts(
        config=sizes,
        head=given.flow(config.num_inference_steps, ("keys", "values", "prefix_mask")),
        prompt=paligemma.prompt(given.tokenizer, sizes.vocab, template, given.max_tokens, clean=clean),
        image=_square(given, sizes.vision.image),
        horizon=config.chunk_size,
        files={},
    )


def _told_state(directory: Path) -> bool:
    processor = read_processor(directory / PREPROCESSOR)
    step = None if processor is None else processor.step("pi05_prepare_state_tokenizer_processor_step")
    return step is None or step.config.include_state_in_prompt


def pi0_fast(given: LerobotGiven) -> Parts:
    config, path, tokenizer = given.config, given.path, given.tokenizer
    if config.temperature != 0.0:
        raise CheckpointError(f"{path}: temperature is {config.temperature}; only greedy decoding (0) is exported")
    dims = paligemma.read_sizes(given.dims)
    vocab = dims.vocab
    text = open_tokenizer(tokenizer, vocab)
    fast = read_fast(
        given.options.fast_tokenizer, text, tokenizer, vocab=vocab, skip=config.fast_skip_tokens, relaxed=True
    )
    sizes = paligemma.token_config(
        path,
        dims,
        variant=config.paligemma_variant,
        token_ids=fast.token_ids,
        bos=token_id(tokenizer, text, "<bos>"),
    )
    template = "Task: {instruction}, State: {state};\n"
    return Parts(
        config=sizes,
        head=TokenSpec(max_new=config.max_decoding_steps, scheme=fast.scheme),
        prompt=paligemma.prompt(tokenizer, vocab, template, given.max_tokens, clean=paligemma.SPACED),
        image=_square(given, sizes.vision.image),
        horizon=config.n_action_steps or config.chunk_size,
        files={FILE: fast.file},
    )


def _square(given: LerobotGiven, image: int) -> Preprocess:
    if given.config.image_resolution != (image, image):
        raise CheckpointError(
            f"{given.path}: image_resolution is {list(given.config.image_resolution)}, the vision tower takes {image} "
            "pixels square; give its sizes with --dims"
        )
    return Preprocess(image, "torch-bilinear", "centre")
