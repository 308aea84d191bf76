"""What a person can mend is one line of `edge export`: what, where, what to do. Exit code 2, and nothing is left."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models

from edge_runtime import cli
from tests.export import tiny_pi, tiny_prismatic, tiny_rt2, tiny_smolvla
from tests.export.edits import edit_json, edit_tensors

SHARD, INDEX = "model-00001-of-00002.safetensors", "model.safetensors.index.json"
HEAD = "action_head--20_checkpoint.pt"
MAKE: dict[str, Callable[[Path], object]] = {
    "pi0": lambda folder: tiny_pi.openpi(folder, "pi0"),
    "pi05": lambda folder: tiny_pi.lerobot(folder, "pi05"),
    "pi0_fast": lambda folder: tiny_pi.lerobot(folder, "pi0_fast"),
    "openpi_fast": lambda folder: tiny_pi.openpi(folder, "pi0_fast"),
    "smolvla": tiny_smolvla.saved,
    "openvla": lambda folder: tiny_prismatic.saved(folder, tiny_prismatic.openvla()),
    "oft": lambda folder: tiny_prismatic.saved(folder, tiny_prismatic.oft()),
    "rt2": tiny_rt2.write,
}
OPENPI = ("--camera", "base_0_rgb=20x30")
OPENVLA = ("--camera", "image=20x30")
OFT = ("--camera", "front=20x30", "--camera", "hand=20x30")
FAST = ("--fast-tokenizer", "fast")
NEEDS: dict[str, tuple[str, ...]] = {
    "pi0": OPENPI,
    "pi05": (),
    "pi0_fast": FAST,
    "smolvla": (),
    "openvla": OPENVLA,
    "oft": OFT,
    "rt2": (),
}
"""What each must be told."""


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pristine")
    for name, make in MAKE.items():
        make(folder / name)
    tiny_pi.fast_tokenizer(folder / "fast")
    return folder


@pytest.fixture
def here(pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The present folder: it has a FAST tokenizer, and a checkpoint once one is copied."""
    shutil.copytree(pristine / "fast", tmp_path / "fast")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line that `edge export c -o out/bundle` ends with."""
    before = sorted(Path().rglob("*"))
    capsys.readouterr()
    assert cli.main(["export", "c", "-o", "out/bundle", *words]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("edge: ")
    assert [path for path in sorted(Path().rglob("*")) if path not in before and path != Path("out")] == []
    return line


@dataclass(frozen=True)
class Case:
    """`spoil` gets the checkpoint's folder, a copy; the line has all of `said`."""

    checkpoint: str
    said: tuple[str, ...]
    spoil: Callable[[Path], object] = lambda _: None
    words: tuple[str, ...] = field(default=())


def config(**fields: Any) -> Callable[[Path], object]:
    return lambda c: edit_json(c / "config.json", lambda told: told.update(fields))


def dims(**fields: Any) -> Callable[[Path], object]:
    return lambda c: edit_json(c / "dims.json", lambda told: told.update(fields))


def step_config(**fields: Any) -> Callable[[Path], object]:
    """Change the config of the preprocessor's normaliser."""

    def change(told: dict[str, Any]) -> None:
        step = next(s for s in told["steps"] if s["registry_name"] == "normalizer_processor")
        step["config"].update(fields)

    return lambda c: edit_json(c / "policy_preprocessor.json", change)


def without(*names: str) -> Callable[[Path], object]:
    return lambda c: [(c / name).unlink() for name in names]


def observation(**tensors: tuple[int, ...]) -> Callable[[Path], object]:
    return lambda c: save_file({k: np.zeros(shape, np.uint8) for k, shape in tensors.items()}, "o.safetensors")


def words(*known: str) -> Callable[[Path], object]:
    def save(_: Path) -> None:
        Tokenizer(models.WordLevel({w: i for i, w in enumerate(known)}, unk_token=known[0])).save("words.json")

    return save


def fast(count: int) -> Callable[[Path], object]:
    return lambda _: tiny_pi.fast_tokenizer(Path("fast"), tuple(chr(0x100 + i) for i in range(count)))


CASES: dict[str, Case] = {
    # things of another kind
    "a type that is a list": Case("pi05", ("c/config.json: type ['pi05'] is unknown",), config(type=["pi05"])),
    "a config without end": Case(
        "pi05", ("c/config.json: ",), lambda c: (c / "config.json").write_text('{"a":' * 100_000)
    ),
    "a map that is a list": Case("pi05", ("policy_preprocessor.json: ", "norm_map"), step_config(norm_map=[1])),
    "an epsilon in words": Case("pi05", ("policy_preprocessor.json: ", "eps"), step_config(eps="small")),
    "names that are a number": Case(
        "pi05", ("policy_preprocessor.json: ", "action_names"), step_config(action_names=3)
    ),
    "a prompt without room": Case(
        "pi0",
        ("dims.json", "max_token_len"),
        dims(max_token_len=-4),
        OPENPI,
    ),
    "flags for other actions": Case(
        "pi0",
        ("spec.relative", "9 flags"),
        dims(relative_actions=[True] * 9),
        OPENPI,
    ),
    "a chunk longer than the model's": Case(
        "pi0",
        ("action_horizon is", "a chunk of 50"),
        dims(chunk=50),
        OPENPI,
    ),
    "a frame without end": Case(
        "pi0", ("is not a size of a frame",), words=("--camera", "base_0_rgb=99999999x99999999")
    ),
    # what says nothing to a checkpoint of this kind
    "steps of tokens": Case("openvla", ("--steps: says nothing to a openvla",), words=(*OPENVLA, "--steps", "3")),
    "a crop of a pi": Case("pi05", ("--crop: says nothing",), words=("--crop",)),
    "statistics of lerobot": Case("pi05", ("--statistics: says nothing",), words=("--statistics", "x")),
    "FAST tokens of a flow": Case("pi05", ("--fast-tokenizer: says nothing",), words=FAST),
    "a camera twice": Case("openvla", ("--camera image: is given twice",), words=(*OPENVLA, *OPENVLA)),
    "cameras without an order": Case(
        "oft",
        ("an observation has no order", "--camera for each of hand, scene"),
        observation(**{"image.scene": (20, 30, 3), "image.hand": (20, 30, 3)}),
        ("--cameras-like", "o.safetensors"),
    ),
    # the directory
    "nothing there": Case("pi05", ("c: no such directory", "config.json"), shutil.rmtree),
    "no config": Case("pi05", ("c/config.json: cannot be read",), without("config.json")),
    "unknown type": Case(
        "pi05", ("c/config.json: type 'pi7' is unknown", "pi0, pi05, pi0_fast, smolvla"), config(type="pi7")
    ),
    "unknown model_type": Case(
        "openvla", ("c/config.json: model_type 'cogact' is unknown", "openvla, paligemma"), config(model_type="cogact")
    ),
    "of no layout": Case(
        "pi0",
        ("c/config.json", "has none of type, model_type, paligemma_variant"),
        lambda c: (c / "config.json").write_text('{"action_dim": 3}'),
    ),
    "no text": Case("pi0", ("c/config.json", "truncated"), lambda c: (c / "config.json").write_text("{")),
    # weights
    "no shard": Case("openvla", (f"c/{INDEX}: names {SHARD}", "copy the whole checkpoint"), without(SHARD), OPENVLA),
    "an index of half the tensors": Case(
        "openvla",
        ("lacks tensors language_model.", "more"),
        lambda c: edit_json(
            c / INDEX, lambda i: i.update(weight_map={n: f for n, f in i["weight_map"].items() if n[0] != "l"})
        ),
        OPENVLA,
    ),
    "a shard outside": Case(
        "openvla",
        (f"c/{INDEX}: names a file '../x.safetensors' outside its directory",),
        lambda c: edit_json(c / INDEX, lambda i: i["weight_map"].update({"projector.fc1.bias": "../x.safetensors"})),
        OPENVLA,
    ),
    "a shard cut short": Case(
        "openvla",
        (f"c/{SHARD}: not a complete safetensors file", "copy it again"),
        lambda c: os.truncate(c / SHARD, 900),
        OPENVLA,
    ),
    "weights that are not finite": Case(
        "pi05",
        ("c/model.safetensors: model.time_mlp_in.weight has values that are not finite",),
        lambda c: edit_tensors(c / "model.safetensors", lambda w: w["model.time_mlp_in.weight"].fill_(torch.nan)),
    ),
    "a tensor too many": Case(
        "smolvla",
        ("c/model.safetensors: has unexpected tensor model.value_head.bias",),
        lambda c: edit_tensors(c / "model.safetensors", lambda w: w.update({"model.value_head.bias": torch.zeros(2)})),
    ),
    "a head that is a list": Case(
        "oft", (f"c/{HEAD}: is not plain tensors", "state_dict"), lambda c: torch.save([torch.zeros(2)], c / HEAD), OFT
    ),
    "a head that is text": Case("oft", (f"c/{HEAD}: ",), lambda c: (c / HEAD).write_text("import os"), OFT),
    "a head of numbers": Case(
        "oft",
        (f"c/{HEAD}: is not plain tensors", "step is of type int"),
        lambda c: torch.save({"step": 3}, c / HEAD),
        OFT,
    ),
    # statistics
    "another robot's key of an OpenVLA": Case(
        "openvla",
        ("c/dataset_statistics.json: has no statistics of 'bridge_orig'", "--statistics may be tiny"),
        words=(*OPENVLA, "--statistics", "bridge_orig"),
    ),
    "another robot's key of an openpi": Case(
        "pi0",
        ("c/assets: has no statistics for 'droid'; there are tiny/robot",),
        words=(*OPENPI, "--statistics", "droid"),
    ),
    "several robots": Case(
        "pi0",
        ("c/assets: has statistics for droid, tiny/robot; choose one with --statistics",),
        lambda c: tiny_pi.asset(c, "droid"),
        OPENPI,
    ),
    "statistics of another robot": Case(
        "oft",
        ("c/dataset_statistics.json: tiny: action has 1 dimensions, the head files 2", "another robot's"),
        lambda c: edit_json(
            c / "dataset_statistics.json", lambda s: s["tiny"]["action"].update(q01=[0], q99=[1], mask=[True])
        ),
        OFT,
    ),
    # chunks
    **{
        f"more actions than a chunk has, {kind}": Case(
            kind,
            ("c/config.json: n_action_steps is 6, expected 1 to 5, the chunk_size",),
            config(n_action_steps=6),
            NEEDS[kind],
        )
        for kind in ("pi05", "pi0_fast", "smolvla")
    },
    "an action wider than the model": Case(
        "pi0", ("c/config.json", "state of 4 dimensions, action_dim is 2", "--dims"), config(action_dim=2), OPENPI
    ),
    "a chunk that nobody tells": Case(
        "oft",
        ("no file says how long a chunk of 2 dimensions with 5 of state is", "--dims"),
        lambda c: edit_json(c / "dims.json", lambda d: d.pop("chunk")),
        OFT,
    ),
    # cameras
    "another camera": Case("pi05", ("camera bose: the checkpoint has base, wrist",), words=("--camera", "bose=4x4")),
    "another camera of a SmolVLA": Case(
        "smolvla", ("camera top: the checkpoint has base, wrist",), words=("--camera", "top=4x4")
    ),
    "another camera of an openpi": Case(
        "pi0", ("camera front: the checkpoint has base_0_rgb",), words=(*OPENPI, "--camera", "front=4x4")
    ),
    "another camera of an RT-2": Case("rt2", ("camera top: the checkpoint has front",), words=("--camera", "top=4x4")),
    "too many cameras": Case(
        "openvla",
        ("c/config.json: the model sees 1 cameras, image", "--camera"),
        words=("--camera", "a=4x4", "--camera", "b=4x4"),
    ),
    "no size": Case("pi0", ("camera base_0_rgb: the openpi layout does not record", "--camera base_0_rgb=480x640")),
    "no size of an OpenVLA": Case("openvla", ("camera image: ", "--camera image=480x640")),
    "a size that is none": Case(
        "pi05", ("--camera base=640: expected NAME=HEIGHTxWIDTH",), words=("--camera", "base=640")
    ),
    "a frame of no rows": Case("pi05", ("camera base: 4×0 is not a size of a frame",), words=("--camera", "base=0x4")),
    "like a file that is not there": Case(
        "pi05", ("o.safetensors: no such file",), words=("--cameras-like", "o.safetensors")
    ),
    "like a file without frames": Case(
        "pi05",
        ("o.safetensors: has no image.<camera>",),
        observation(state=(4,)),
        ("--cameras-like", "o.safetensors"),
    ),
    "like a file with batches": Case(
        "pi05",
        ("o.safetensors: image.base has shape [1, 4, 4, 3], expected [height, width, 3]",),
        observation(**{"image.base": (1, 4, 4, 3)}),
        ("--cameras-like", "o.safetensors"),
    ),
    "like a file with other cameras": Case(
        "pi05",
        ("camera bose: the checkpoint has base, wrist",),
        observation(**{"image.bose": (4, 4, 3)}),
        ("--cameras-like", "o.safetensors"),
    ),
    "like no safetensors": Case(
        "pi05",
        ("o.safetensors: not a complete safetensors file",),
        lambda c: Path("o.safetensors").write_text("frames"),
        ("--cameras-like", "o.safetensors"),
    ),
    # tokenizers
    **{
        f"no tokenizer of a {kind}": Case(
            kind,
            ("tokenizer.json: no such file", "--tokenizer"),
            without("tokenizer.json"),
            NEEDS[kind],
        )
        for kind in NEEDS
        if kind not in ("openvla", "oft")  # ids are enough there
    },
    **{
        f"a larger tokenizer than a {kind}'s": Case(
            kind,
            ("words.json: has 999 tokens, the model's table ", "another model's tokenizer"),
            words(*(f"w{i}" for i in range(999))),
            ("--tokenizer", "words.json", *NEEDS[kind]),
        )
        for kind in NEEDS
    },
    **{
        f"a tokenizer without the marks of a {kind}": Case(
            kind,
            ("words.json: ", "another model's tokenizer"),
            words("<unk>", "a"),
            ("--tokenizer", "words.json", *NEEDS[kind]),
        )
        for kind in NEEDS
        if kind not in ("openvla", "oft")  # ids are enough there
    },
    **{
        f"a tokenizer of a {kind} that is not there": Case(
            kind, ("gone.json: no such file",), words=(*NEEDS[kind], "--tokenizer", "gone.json")
        )
        for kind in NEEDS
    },
    "a tokenizer that is none": Case(
        "pi05", ("c/config.json: not a tokenizer.json",), words=("--tokenizer", "c/config.json")
    ),
    # FAST tokenizers
    **{
        f"no FAST tokenizer of a {kind}": Case(
            kind, ("pi0_fast: no layout brings the FAST tokenizer", "--fast-tokenizer"), words=more
        )
        for kind, more in (("pi0_fast", ()), ("openpi_fast", OPENPI))
    },
    "a FAST tokenizer that is not there": Case(
        "pi0_fast", ("gone/processor_config.json: cannot be read",), words=("--fast-tokenizer", "gone")
    ),
    "too large a FAST tokenizer": Case(
        "pi0_fast",
        ("fast/tokenizer.json: 90 FAST tokens do not fit below token",),
        fast(90),
        FAST,
    ),
    "a FAST tokenizer beside it": Case(
        "pi0_fast", ("c/processor_config.json: cannot be read",), words=("--fast-tokenizer", "c")
    ),
    # sizes
    "no dims": Case("pi05", ("gone.json: cannot be read",), words=("--dims", "gone.json")),
    "dims of another model": Case(
        "pi05",
        ("c/model.safetensors: ", "the sizes say", "give the right sizes with --dims"),
        dims(vlm={**tiny_pi.DIMS["vlm"], "mlp_dim": 99}),
    ),
    "sampling": Case("pi0_fast", ("c/config.json: temperature is 0.5",), config(temperature=0.5), FAST),
    # numbers that cannot be
    "flow steps below zero": Case("pi0", ("c/dims.json: ", "$.steps"), dims(steps=-3), OPENPI),
    "no token to write": Case(
        "pi0_fast", ("c/config.json: ", "must be above zero"), config(max_decoding_steps=0), FAST
    ),
    "coefficients divided by zero": Case(
        "pi0_fast",
        ("fast/processor_config.json: ", "$.scale"),
        lambda _: edit_json(Path("fast/processor_config.json"), lambda told: told.update(scale=0)),
        FAST,
    ),
    "no rate": Case("pi05", ("fps: 0.0 is not a rate of actions", "--fps"), words=("--fps", "0")),
    "no steps": Case("pi05", ("--steps",), words=("--steps", "0")),
    "no option": Case("pi05", ('there is no option "--cameraslike"', "--cameras-like"), words=("--cameraslike", "x")),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_one_line_and_nothing_is_left(
    pristine: Path, here: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    case = CASES[name]
    checkpoint = Path(shutil.copytree(pristine / case.checkpoint, here / "c"))
    case.spoil(checkpoint)
    line = refused(capsys, *case.words)
    assert [said for said in case.said if said not in line] == [], line


class Malicious:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.environ["TINY_TRAP"],)


@pytest.mark.parametrize("name", [HEAD, "proprio_projector--20_checkpoint.pt"])
def test_a_head_file_never_runs_code(
    pristine: Path, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = Path(shutil.copytree(pristine / "oft", here / "c")) / name
    monkeypatch.setenv("TINY_TRAP", str(here / "trap"))
    torch.save({"model.fc2.weight": torch.zeros(2, 2), "fc1.weight": torch.zeros(2, 2), "x": Malicious()}, path)
    line = refused(capsys, *OFT)
    assert f"c/{name}: is not plain tensors" in line
    assert not (here / "trap").exists()
    torch.load(path, weights_only=False)
    assert (here / "trap").exists()  # the trap would have worked


def test_a_bundle_that_is_there_stays_as_it_is(pristine: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = CASES["weights that are not finite"]
    case.spoil(Path(shutil.copytree(pristine / case.checkpoint, here / "c")))
    old = here / "out" / "bundle" / "manifest.json"
    old.parent.mkdir(parents=True)
    old.write_text("{}")
    assert "not finite" in refused(capsys)
    assert [path.name for path in (here / "out").rglob("*")] == ["bundle", "manifest.json"]
    assert old.read_text() == "{}"


def test_what_somebody_else_made_is_left_alone(pristine: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(pristine / "pi05", here / "c")
    thesis = here / "out" / "bundle" / "thesis.txt"
    thesis.parent.mkdir(parents=True)
    thesis.write_text("years of work")
    line = refused(capsys)
    assert "out/bundle: exists and has no manifest.json; give another place, or remove it first" in line
    assert thesis.read_text() == "years of work"


@pytest.mark.parametrize("words", [(), ("c",), ("-o", "out/bundle")])
def test_what_must_be_said(capsys: pytest.CaptureFixture[str], here: Path, words: tuple[str, ...]) -> None:
    assert cli.main(["export", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "edge export CHECKPOINT -o BUNDLE" in line
