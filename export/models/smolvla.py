"""SmolVLA: a small VLM, and an action expert that reads its keys and values in two ways, layer by layer in turn.

Paper: https://arxiv.org/abs/2506.01844; reference: lerobot `policies/smolvla`, transformers `models/smolvlm`.
Some expert layers attend to the prefix and to the actions before (self layers); the others attend to the prefix alone,
through keys and values that they project from the VLM's (cross layers). Those do not depend on flow time, so the prefix
computes them once.
Shapes: B batch, C cameras, P tokens a camera, T text tokens, L prefix tokens, H horizon, W width, K key/value heads,
D head_dim, X cross layers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export import graphs
from export.checkpoint import Checkpoint
from export.family import Family
from export.models.common import additive, join_heads, need_positive, positions_of, rotary, split_heads
from export.models.decoder import Decoder, DecoderConfig, DecoderLayer, RMSNorm
from export.models.flow import constants, each_row, time_embedding
from export.models.smolvlm import ImageMarks, pixel_shuffle
from export.models.vit import Vit, VitConfig
from export.weights import Source

PUBLISHED_PREFIXES = {
    "vision.": "vlm_with_expert.vlm.model.vision_model.",
    "projector.": "vlm_with_expert.vlm.model.connector.modality_projection.proj.",
    "language.": "vlm_with_expert.vlm.model.text_model.",
    "expert.": "vlm_with_expert.lm_expert.",
}
"""Our parameter prefix → the published one; every other parameter has its published name."""
TABLE = "vlm_with_expert.vlm.model.text_model.embed_tokens.weight"
HEAD = "vlm_with_expert.vlm.lm_head.weight"
UNUSED = (HEAD, "vlm_with_expert.lm_expert.embed_tokens.weight", "vlm_with_expert.lm_expert.lm_head.weight")


def decoders(
    vlm: DecoderConfig, layers: int, expert_layers: int, multiplier: float
) -> tuple[DecoderConfig, DecoderConfig]:
    """The language model and the expert that lerobot makes of a VLM's decoder (`SmolVLMWithExpertModel.__init__`).

    `layers`: how many layers of it are kept (0 or less: all). The expert has its heads, `multiplier` times its width
    and an MLP of 8/3 of that, rounded up to a multiple of 256. `ValueError` where `expert_layers` (0 or less: as many
    as the language model) is another number: the reference then pairs an expert layer with a VLM layer further up, but
    shapes its projections by its own index, and with every second layer a self layer it cannot run.
    """
    language = replace(vlm, depth=min(layers, vlm.depth) if layers > 0 else vlm.depth)
    if expert_layers > 0 and expert_layers != language.depth:
        raise ValueError(
            f"num_expert_layers is {expert_layers}, the VLM has {language.depth} layers: only as many are supported"
        )
    width = int(language.width * multiplier)
    return language, replace(language, width=width, mlp_dim=-(-int(4 * int(2 * width / 3)) // 256) * 256)


@dataclass(frozen=True)
class SmolVlaConfig:
    """Sizes of a SmolVLA.

    `state_padded` and `action_padded` are the widths the model sees, whatever the robot has. Under `cross_attn`, every
    `self_attn_every`th layer of the expert from the first on is a self layer, the others are cross layers (0 or less:
    all are); under `self_attn` there are only self layers. `empty_cameras` counts slots that no camera ever fills: of
    them nothing but their `marks` can be seen, where the model has those.
    """

    vision: VitConfig
    language: DecoderConfig
    expert: DecoderConfig
    scale_factor: int
    vocab: int
    horizon: int = 50
    state_padded: int = 32
    action_padded: int = 32
    self_attn_every: int = 2
    attention_mode: Literal["cross_attn", "self_attn"] = "cross_attn"
    marks: ImageMarks | None = None
    empty_cameras: int = 0
    min_period: float = 4e-3
    max_period: float = 4.0

    def __post_init__(self) -> None:
        sizes = ("scale_factor", "vocab", "horizon", "state_padded", "action_padded", "min_period", "max_period")
        need_positive(self, sizes)
        for name in ("depth", "num_heads", "num_kv_heads", "head_dim"):
            if getattr(self.language, name) != getattr(self.expert, name):
                raise ValueError(f"{name} differs between language model and expert, which reads its keys and values")
        if self.expert.width % 2:
            raise ValueError(f"the expert's width is {self.expert.width}, it must be even")
        if self.side % self.scale_factor:
            raise ValueError(f"{self.side} patches along a side do not divide by the scale factor {self.scale_factor}")
        if self.attention_mode not in ("cross_attn", "self_attn"):
            raise ValueError(f"attention_mode is {self.attention_mode}, it must be cross_attn or self_attn")
        if self.marks and not all(0 <= token < self.vocab for token in self.marks):
            raise ValueError(f"image marks {tuple(self.marks)} do not fit a vocabulary of {self.vocab}")

    @property
    def side(self) -> int:
        """Patches along a side of an image."""
        return self.vision.image // self.vision.patch

    @property
    def cross_layers(self) -> tuple[int, ...]:
        every = self.self_attn_every
        layers = range(self.expert.depth) if self.attention_mode == "cross_attn" else ()
        return tuple(i for i in layers if every <= 0 or i % every)

    @property
    def read(self) -> tuple[str, ...]:
        """Which outputs of the prefix graph the step graph reads."""
        own = ("keys", "values") if len(self.cross_layers) < self.expert.depth else ()
        return (*own, *self._crossing, "prefix_mask")

    @property
    def written(self) -> tuple[str, ...]:
        """The outputs of the prefix graph."""
        return ("keys", "values", *self._crossing, "prefix_mask")

    @property
    def _crossing(self) -> tuple[str, ...]:
        return ("cross_keys", "cross_values") if self.cross_layers else ()

    def prefix_length(self, cameras: int, text: int) -> int:
        """Tokens of a prefix of that many cameras and text tokens; the last one is the state."""
        marks = 3 if self.marks else 0
        return cameras * ((self.side // self.scale_factor) ** 2 + marks) + self.empty_cameras * marks + text + 1


def prefix_sees(mask: Tensor) -> Tensor:
    """What each prefix token sees of the valid ones of `mask` bool [B, L] → bool [B, L, L]: all but the state, which
    stands last; that one sees itself too."""
    index = torch.arange(mask.shape[1], device=mask.device)
    last = mask.shape[1] - 1
    return mask[:, None, :] & ((index[None, :] < last) | (index[:, None] == last))


def actions_see(prefix_mask: Tensor, horizon: int) -> Tensor:
    """What each action sees of the prefix, mask bool [B, L], and of the actions up to itself → bool [B, H, L+H]."""
    index = torch.arange(horizon, device=prefix_mask.device)
    causal = index[:, None] >= index[None, :]
    prefix = prefix_mask[:, None, :].expand(-1, horizon, -1)
    return torch.cat([prefix, causal.expand(prefix.shape[0], -1, -1)], dim=2)


class Expert(nn.Module):
    """The action expert's layers: a self layer has the expert's own keys and values, a cross layer the VLM's."""

    def __init__(self, config: SmolVlaConfig) -> None:
        super().__init__()
        sizes = config.expert
        self.head_dim, self.rope_base, self.cross_layers = sizes.head_dim, sizes.rope_base, config.cross_layers
        kv = sizes.num_kv_heads * sizes.head_dim
        self.layers = nn.ModuleList(
            DecoderLayer(sizes, kv if i in self.cross_layers else None) for i in range(sizes.depth)
        )
        self.norm = RMSNorm(sizes)

    def cross_keys_values(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """What the cross layers see: of the VLM's keys (rotated) and values [depth, B, K, L, D] → [X, B, K, L, D]."""
        attentions = {i: self._layers()[i].self_attn for i in self.cross_layers}
        cross_keys = [_projected(attention.k_proj, keys[i]) for i, attention in attentions.items()]
        cross_values = [_projected(attention.v_proj, values[i]) for i, attention in attentions.items()]
        return torch.stack(cross_keys), torch.stack(cross_values)

    def forward(self, x: Tensor, prefix_mask: Tensor, read: Mapping[int, tuple[Tensor, Tensor]]) -> Tensor:
        """x [B, H, W] behind a prefix of mask bool [B, L] → normed hidden [B, H, W].

        `read`: by layer, the VLM's keys and values [B, K, L, D], or what a cross layer sees instead. An action sees the
        prefix, and in self layers the actions up to itself. Cross layers count positions from 0.
        """
        index = torch.arange(x.shape[1], dtype=torch.float32, device=x.device)[None]
        count = prefix_mask.to(torch.float32).sum(dim=1, keepdim=True)
        after, apart = (rotary(positions, self.head_dim, self.rope_base) for positions in (count + index, index))
        bias, prefix = additive(actions_see(prefix_mask, x.shape[1])), additive(prefix_mask)[:, None, :]
        for i, layer in enumerate(self._layers()):
            if i in self.cross_layers:
                x = layer.cross(x, apart, *read[i], prefix)
            else:
                x, _, _ = layer(x, after, bias, read[i])
        out: Tensor = self.norm(x)
        return out

    def _layers(self) -> list[DecoderLayer]:
        return [layer for layer in self.layers if isinstance(layer, DecoderLayer)]


def _projected(proj: nn.Module, x: Tensor) -> Tensor:
    """A cache [B, K, L, D], its heads side by side, through a projection → [B, K, L, D]."""
    return split_heads(proj(join_heads(x)), x.shape[1])


class SmolVla(nn.Module):
    """The model. Flow time runs from t=1 (noise) to t=0 (actions)."""

    def __init__(self, config: SmolVlaConfig) -> None:
        super().__init__()
        self.config = config
        width = config.expert.width
        self.vision = Vit(config.vision)
        self.projector = nn.Linear(config.vision.hidden * config.scale_factor**2, config.language.width, bias=False)
        self.language = Decoder(config.language, config.vocab)
        self.expert = Expert(config)
        self.state_proj = nn.Linear(config.state_padded, config.language.width)
        self.action_in_proj = nn.Linear(config.action_padded, width)
        self.action_out_proj = nn.Linear(width, config.action_padded)
        self.action_time_mlp_in = nn.Linear(2 * width, width)
        self.action_time_mlp_out = nn.Linear(width, width)

    def embed_images(self, pixels: Tensor, camera_mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Images, between marks where the model has those → embeddings [B, C·P, W], mask bool [B, C·P].

        Marks hide with their camera; those of empty cameras stand behind the others and are always seen.
        """
        c, batch = self.config, pixels.shape[0]
        patches = self.projector(pixel_shuffle(self.vision(pixels.flatten(0, 1)), c.scale_factor))
        images = (patches * math.sqrt(c.language.width)).unflatten(0, (batch, -1))  # [B, C, P, W]
        if camera_mask is None:
            camera_mask = torch.ones(pixels.shape[:2], dtype=torch.bool, device=pixels.device)
        if c.marks is None:
            return images.flatten(1, 2), _repeat(camera_mask, images.shape[2])
        around, whole = c.marks
        marks = self.language.embed_tokens(torch.tensor([around, whole, around], device=pixels.device))  # [3, W]
        before, behind = (part.expand(*images.shape[:2], -1, -1) for part in (marks[:2], marks[2:]))
        images = torch.cat([before, images, behind], dim=2)
        empty = marks.repeat(c.empty_cameras, 1).expand(batch, -1, -1)
        seen = torch.ones(empty.shape[:2], dtype=torch.bool, device=pixels.device)
        shown = _repeat(camera_mask, images.shape[2])
        return torch.cat([images.flatten(1, 2), empty], dim=1), torch.cat([shown, seen], dim=1)

    def embed_prefix(
        self, pixels: Tensor, tokens: Tensor, token_mask: Tensor, state: Tensor, camera_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Images, text, state. pixels [B, C, 3, S, S] in [-1, 1], tokens int64 [B, T], token_mask bool [B, T], state
        [B, padded], camera_mask bool [B, C] (None: every camera counts) → embeddings [B, L, W], mask bool [B, L]."""
        images, shown = self.embed_images(pixels, camera_mask)
        embeddings = torch.cat([images, self.language.embed(tokens), self.state_proj(state)[:, None, :]], dim=1)
        return embeddings, torch.cat([shown, token_mask, torch.ones_like(token_mask[:, :1])], dim=1)

    def prefix(
        self, pixels: Tensor, tokens: Tensor, token_mask: Tensor, state: Tensor, camera_mask: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """What the expert reads, as `SmolVlaConfig.written` names it: the VLM's keys (rotated) and values
        [depth, B, K, L, D], those of the cross layers [X, B, K, L, D] where there are any, mask bool [B, L].

        Inputs as `embed_prefix`. Everything sees every valid token but the state, which sees itself too.
        """
        embeddings, mask = self.embed_prefix(pixels, tokens, token_mask, state, camera_mask)
        keys, values = self.language.cache(embeddings, positions_of(mask), additive(prefix_sees(mask)))
        crossing = self.expert.cross_keys_values(keys, values) if self.config.cross_layers else ()
        return keys, values, *crossing, mask

    def embed_suffix(self, x_t: Tensor, cond: Tensor) -> Tensor:
        """Noisy actions x_t [B, H, padded] and the embedding of their time [B, W] or times [B, H, W] → [B, H, W]."""
        actions = self.action_in_proj(x_t)
        actions = torch.cat([actions, each_row(cond, actions.shape[1])], dim=-1)
        out: Tensor = self.action_time_mlp_out(F.silu(self.action_time_mlp_in(actions)))
        return out

    def velocity(
        self,
        prefix_mask: Tensor,
        x_t: Tensor,
        cond: Tensor,
        keys: Tensor | None = None,
        values: Tensor | None = None,
        cross_keys: Tensor | None = None,
        cross_values: Tensor | None = None,
    ) -> Tensor:
        """The expert: dx/dt at x_t [B, H, padded] → [B, H, padded]. cond [B, W] of that time as `cond` has it, or
        [B, H, W] of every action's own, the rest as `prefix` returns it; `SmolVlaConfig.read` says which of it there
        must be."""
        crossing = zip(self.config.cross_layers, _by_layer(cross_keys, cross_values), strict=True)
        read = dict(enumerate(_by_layer(keys, values))) | dict(crossing)
        out: Tensor = self.action_out_proj(self.expert(self.embed_suffix(x_t, cond), prefix_mask, read))
        return out

    def cond(self, times: Tensor) -> Tensor:
        """Flow times [N] or [B, H] → their embeddings float32 [..., W]."""
        c = self.config
        return time_embedding(times, c.expert.width, c.min_period, c.max_period)


def _repeat(camera_mask: Tensor, count: int) -> Tensor:
    """Mask bool [B, C] of cameras → [B, C·count] of their tokens."""
    return camera_mask[:, :, None].expand(-1, -1, count).flatten(1)


def _by_layer(keys: Tensor | None, values: Tensor | None) -> list[tuple[Tensor, Tensor]]:
    return [] if keys is None or values is None else list(zip(keys.unbind(), values.unbind(), strict=True))


def published_name(name: str) -> str:
    """Our parameter name → the published one (behind `Checkpoint.prefix`)."""
    for ours, theirs in PUBLISHED_PREFIXES.items():
        if name.startswith(ours):
            return theirs + name[len(ours) :]
    return name


def source(name: str, stored: frozenset[str], _: SmolVlaConfig) -> Source:
    """The token table is `embed_tokens`; only where that is absent, the tied `lm_head` is it."""
    published = published_name(name)
    return Source(HEAD if published == TABLE and TABLE not in stored else published)


def unused(name: str) -> bool:
    """Heads, and layers of the VLM's that lie above those it keeps."""
    return name in UNUSED or name.startswith("vlm_with_expert.vlm.model.text_model.layers.")


def _graphs(model: nn.Module, checkpoint: Checkpoint) -> dict[str, graphs.ModelGraph]:
    spec, c = checkpoint.spec, checkpoint.config
    assert isinstance(c, SmolVlaConfig)
    length = c.prefix_length(len(spec.cameras), spec.prompt.max_tokens)
    sizes = (c.expert.num_kv_heads, length, c.expert.head_dim)
    crossing = {f"cross_{name}": x for name, x in graphs.cache(len(c.cross_layers), *sizes).items()}
    first = {**graphs.seen(spec, 3, c.vision.image), **graphs.state(spec)}
    written = {**graphs.cache(c.expert.depth, *sizes), **crossing, **graphs.mask("prefix_mask", length)}
    step = {name: written[name] for name in c.read} | graphs.flow_inputs(spec, c.expert.width)
    return {
        "prefix": graphs.ModelGraph(model, "prefix", first, c.written),
        "step": graphs.ModelGraph(model, "velocity", step, ("velocity",)),
    }


FAMILY = Family(
    name="smolvla",
    head="flow matching, interleaved cross-attention",
    needs="--tokenizer; --dims for another VLM than SmolVLM2-500M",
    build=SmolVla,
    source=source,
    unused=unused,
    graphs=_graphs,
    constants=constants,
)
