"""The Hugging Face layout of OpenVLA and, with head files beside it, of OpenVLA-OFT: a directory → `Checkpoint`.

config.json, sharded safetensors with their index, preprocessor_config.json, dataset_statistics.json, tokenizer.json.
No file tells the sizes of vision towers other than the published ones, the cameras or the rate, nor, for OpenVLA-OFT,
the chunk and the kind of normalisation: the robot's constants, a dims.json or the command line do.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge_runtime.bundle_spec import (
    BinScheme,
    CameraSpec,
    Normalisation,
    PolicySpec,
    PoseSpec,
    PromptSpec,
    RegressionSpec,
    TokenSpec,
)
from export.checkpoint import Checkpoint
from export.errors import CheckpointError
from export.json_file import read_json
from export.layouts import oft
from export.layouts.conventions import convention
from export.layouts.options import Options
from export.layouts.prismatic_files import CONFIG, Config, Dims, architecture, open_weights, preprocess, read_dims
from export.layouts.prismatic_statistics import Statistics, normalisation, read_statistics
from export.layouts.text import open_tokenizer, tokenizer_file
from export.layouts.vectors import NO_STATE, NONE, Rate, own_names, rate, vector
from export.models.openvla import OpenVlaConfig
from export.models.openvla_oft import OpenVlaOftConfig
from export.models.prismatic import PrismaticConfig
from export.stored import Stored, merged

LAYOUT = "huggingface"
TEMPLATE = "In: What action should the robot take to {instruction}?\nOut:"
BOS = 1
MAX_TOKENS = 96
FPS = 5.0
"""BridgeData's, on whose robot OpenVLA was evaluated."""


@dataclass(frozen=True)
class Given:
    """What the directory, its dims and the person say."""

    path: Path
    config: Config
    dims: Dims
    statistics: Statistics
    options: Options

    @property
    def directory(self) -> Path:
        return self.path.parent


def read_openvla(directory: Path, options: Options) -> Checkpoint:
    """Read everything but the weights of an OpenVLA or, if there is an action head's file, an OpenVLA-OFT."""
    path = directory / CONFIG
    config, dims = read_json(path, Config), read_dims(directory, options)
    heads = oft.head_files(directory)
    statistics = read_statistics(path, config.norm_stats, options.statistics)
    given = Given(path, config, dims, statistics, options)
    try:
        return _openvla(given) if heads is None else _openvla_oft(given, heads)
    except ValueError as error:
        raise CheckpointError(f"{path}: with these sizes {error}") from error


def _openvla(given: Given) -> Checkpoint:
    config, statistics = given.config, given.statistics
    sizes = OpenVlaConfig(
        **vars(architecture(given.path, config, given.dims)),
        padding=config.pad_to_multiple_of,
        bins=config.n_action_bins,
    )
    action = normalisation(statistics.where, statistics.action, "quantiles")
    count = len(action.a)
    dt_s, who = rate(given.options.fps, given.dims.fps, FPS)
    spec = PolicySpec(
        cameras=_cameras(given, ("image",)),
        state=NO_STATE,
        action=vector(oft.names("action", oft.POSE, count), count, given.dims.units),
        horizon=1,
        dt_s=dt_s,
        control_mode="delta",
        head=TokenSpec(count, BinScheme()),
        prompt=_prompt(given),
        state_normalisation=NONE,
        action_normalisation=action,
        pose=convention(given.dims.robot or statistics.name, count, 0),
    )
    return _checkpoint("openvla", given, sizes, spec, open_weights(given.directory, sizes), who)


def _openvla_oft(given: Given, heads: oft.HeadFiles) -> Checkpoint:
    dims = given.dims
    robot = oft.robot(given.directory, dims.robot, heads, dims.chunk)
    sizes = OpenVlaOftConfig(
        **vars(architecture(given.path, given.config, dims)),
        horizon=robot.horizon if dims.chunk is None else dims.chunk,
        action_dims=heads.action_dims if dims.action_dim is None else dims.action_dim,
        state_dims=heads.state_dims if not heads.state_dims or dims.proprio_dim is None else dims.proprio_dim,
    )
    state, action = _normalisations(given.statistics, robot, sizes)
    dt_s, who = rate(given.options.fps, dims.fps, robot.fps)
    spec = PolicySpec(
        cameras=_cameras(given, robot.cameras),
        state=vector(oft.names("state", robot.state, sizes.state_dims), sizes.state_dims, dims.units),
        action=vector(oft.names("action", robot.action, sizes.action_dims), sizes.action_dims, dims.units),
        horizon=sizes.horizon,
        dt_s=dt_s,
        control_mode=robot.control_mode,
        head=RegressionSpec(),
        prompt=_prompt(given),
        state_normalisation=state,
        action_normalisation=action,
        pose=_convention(given, robot, sizes),
    )
    stored = merged([open_weights(given.directory, sizes), heads.stored])
    return _checkpoint("openvla_oft", given, sizes, spec, stored, who)


def _convention(given: Given, robot: oft.Robot, sizes: OpenVlaOftConfig) -> PoseSpec | None:
    if robot.control_mode == "absolute":
        return None
    return convention(given.dims.robot or given.statistics.name, sizes.action_dims, sizes.state_dims)


def _normalisations(
    statistics: Statistics, robot: oft.Robot, sizes: OpenVlaOftConfig
) -> tuple[Normalisation, Normalisation]:
    """Of the state, which is clipped too, and of the action."""
    where, state = statistics.where, NONE
    action = normalisation(where, statistics.action, robot.kind, eps=oft.EPS)
    if sizes.state_dims:
        if statistics.proprio is None:
            raise CheckpointError(f"{where}: has no proprio, and the model reads a state; they are another robot's")
        state = normalisation(where, statistics.proprio, robot.kind, eps=oft.EPS, clip=1.0)
    for name, found, wanted in (("proprio", state, sizes.state_dims), ("action", action, sizes.action_dims)):
        if len(found.a) != wanted:
            raise CheckpointError(
                f"{where}: {name} has {len(found.a)} dimensions, the head files {wanted}; they are another robot's"
            )
    return state, action


def _checkpoint(
    family: str, given: Given, sizes: PrismaticConfig, spec: PolicySpec, stored: Stored, who: Rate
) -> Checkpoint:
    tokenizer = tokenizer_file(given.directory, given.options.tokenizer, optional=True)
    if tokenizer is not None:
        open_tokenizer(tokenizer, sizes.vocab)
    image = preprocess(given.directory, sizes, given.options.crop)
    return Checkpoint(family, LAYOUT, sizes, spec, image, stored, tokenizer, rate=who)


def _prompt(given: Given) -> PromptSpec:
    """As `get_vla_action` of the references writes it; the tokenizer puts BOS first, `predict_action` the end."""
    config, end = given.config, given.dims.empty_token
    for name, token in (("pad_token_id", config.pad_token_id), ("empty_token", end)):
        if not 0 <= token < config.text_config.vocab_size:
            raise CheckpointError(
                f"{given.path}: {name} {token} is not in a table of {config.text_config.vocab_size} rows; a vocabulary "
                'that is not Llama\'s needs its "empty_token", the id of a lone "▁", in a file for --dims'
            )
    room = given.options.max_tokens or MAX_TOKENS
    return PromptSpec(
        TEMPLATE, room, BOS, config.pad_token_id, clean=("lower",), end_id=end, vocab=config.text_config.vocab_size
    )


def _cameras(given: Given, usual: tuple[str, ...]) -> tuple[CameraSpec, ...]:
    """In the order in which the model sees them; it can do without none of them. No file names or counts them.

    There are as many as `images` of dims, else as `usual`. Given cameras of other names take the place of all of them.
    """
    images, asked = given.dims.images, given.options.cameras
    known = usual if images is None or len(images) == len(usual) else _numbered(len(images))
    if not set(asked) <= set(known):
        if known and len(asked) != len(known):
            raise CheckpointError(
                f"{given.path}: the model sees {len(known)} cameras, {', '.join(known)}; give --camera for each of "
                "them, under these names or, in this order, under your own"
            )
        known = own_names(given.path, given.options)
    if not known:
        raise CheckpointError(f"{given.path}: no file says how many images the model sees; give --camera for each")
    sizes = {**dict(zip(known, images or ((0, 0),) * len(known), strict=True)), **asked}
    return tuple(CameraSpec(name, *sizes[name], missing="refuse") for name in known)


def _numbered(count: int) -> tuple[str, ...]:
    return ("image", *(f"wrist_{i}" for i in range(1, count)))[:count]
