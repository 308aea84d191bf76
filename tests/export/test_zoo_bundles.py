"""Every family and layout the whole way, as a person goes it: `edge export`, then `edge infer` with words.

pi0 of lerobot and the RT-2 recipe have files of their own: test_pipeline and test_rt2_bundle.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from edge_runtime import cli
from edge_runtime.backends import ort
from edge_runtime.bundle import open_bundle
from edge_runtime.engines.compile import compile_bundle
from edge_runtime.policies.graph_policy import recorded
from edge_runtime.policies.runners import runner
from edge_runtime.policy import open_policy
from edge_runtime.probes import read_probes
from edge_runtime.verify import answer
from export import torch_graph
from export.verify import example, run
from tests.edge_runtime.engines.fakes import Machine
from tests.export import tiny_lerobot, tiny_pi, tiny_prismatic, tiny_smolvla

Tensors = dict[str, np.ndarray[Any, Any]]
BASE, WRIST = (20, 30), (33, 21)
FAST = (5, 12, 17, 3, 22, 9, 14, 1, 19, 11, 7, 20, 2, 16, 10)
"""What the tiny pi0-FAST says: a chunk of 5 × 3 coefficients, row by row."""
SAID = (*tiny_pi.ANSWER, *(f"fast{i}" for i in FAST), "|")


@dataclass(frozen=True)
class Kind:
    """A family in a layout: how its checkpoint is made in a folder, what the command is told, and what comes out."""

    family: str
    layout: str
    make: Callable[[Path], Path]
    words: tuple[str, ...]
    cameras: dict[str, tuple[int, int]]
    state: int
    horizon: int
    dims: int
    head: Literal["flow", "tokens", "regression"]
    missing: Literal["mask", "black", "refuse"]

    @property
    def name(self) -> str:
        return f"{self.layout} {self.family}"


def sizes(**cameras: tuple[int, int]) -> tuple[str, ...]:
    return tuple(word for name, (h, w) in cameras.items() for word in ("--camera", f"{name}={h}x{w}"))


LEROBOT = {"base": BASE, "wrist": WRIST}
OPENPI = {"base_0_rgb": BASE, "left_wrist_0_rgb": WRIST}
OFT = {"front": BASE, "hand": WRIST}
KINDS = (
    Kind(
        family="pi05",
        layout="openpi",
        make=lambda folder: tiny_pi.openpi(folder / "c", "pi05"),
        words=(*sizes(**OPENPI), "--steps", "3", "--max-tokens", "90"),
        cameras=OPENPI,
        state=4,
        horizon=5,
        dims=3,
        head="flow",
        missing="mask",
    ),
    Kind(
        family="pi0_fast",
        layout="lerobot",
        make=lambda folder: tiny_pi.lerobot(folder / "c", "pi0_fast", said=SAID),
        words=("--fast-tokenizer", "fast"),
        cameras=LEROBOT,
        state=4,
        horizon=5,
        dims=3,
        head="tokens",
        missing="mask",
    ),
    Kind(
        family="pi0_fast",
        layout="openpi",
        make=lambda folder: tiny_pi.openpi(folder / "c", "pi0_fast"),
        words=(*sizes(base_0_rgb=BASE), "--fast-tokenizer", "fast", "--max-tokens", "60"),
        cameras={"base_0_rgb": BASE, "base_1_rgb": (18, 18), "wrist_0_rgb": (18, 18)},
        state=4,
        horizon=5,
        dims=3,
        head="tokens",
        missing="black",
    ),
    Kind(
        family="smolvla",
        layout="lerobot",
        make=lambda folder: tiny_smolvla.saved(folder / "c"),
        words=(),
        cameras=LEROBOT,
        state=4,
        horizon=5,
        dims=3,
        head="flow",
        missing="mask",
    ),
    Kind(
        family="openvla",
        layout="huggingface",
        make=lambda folder: tiny_prismatic.saved(folder / "c", tiny_prismatic.openvla()),
        words=sizes(image=BASE),
        cameras={"image": BASE},
        state=0,
        horizon=1,
        dims=7,
        head="tokens",
        missing="refuse",
    ),
    Kind(
        family="openvla_oft",
        layout="huggingface",
        make=lambda folder: tiny_prismatic.saved(folder / "c", tiny_prismatic.oft()),
        words=sizes(**OFT),
        cameras=OFT,
        state=5,
        horizon=3,
        dims=2,
        head="regression",
        missing="refuse",
    ),
)


SPEAKING, MUMBLING = (kind for kind in KINDS if kind.family == "pi0_fast")


@dataclass(frozen=True)
class Made:
    kind: Kind
    folder: Path

    def observation(self, *without: str, seed: int = 0) -> Path:
        rng = np.random.default_rng(seed)
        given: Tensors = {
            f"image.{name}": rng.integers(0, 256, (*size, 3), np.uint8) for name, size in self.kind.cameras.items()
        }
        state = rng.uniform(-1, 1, self.kind.state).astype(np.float32)
        given = {name: x for name, x in given.items() if name.removeprefix("image.") not in without}
        save_file({**given, **({"state": state} if len(state) else {})}, self.folder / "o.safetensors")
        return self.folder / "o.safetensors"

    def ask(self, *words: str, without: tuple[str, ...] = (), seed: int = 0) -> tuple[int, Tensors]:
        """Exit code and what was written. Tokens that mean nothing are padded unless `words` say otherwise."""
        out = self.folder / "a.safetensors"
        out.unlink(missing_ok=True)
        given = ["--observation", str(self.observation(*without, seed=seed)), "--instruction", "pick up the red cup"]
        given += ["--on-malformed", "pad"] if self.kind.head == "tokens" else []
        code = cli.main(["infer", str(self.folder / "bundle"), *given, "-o", str(out), *words])
        return code, load_file(out) if out.exists() else {}


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Kind], Made]:
    """Each kind is exported once, when a test first asks for it."""
    done: dict[str, Made] = {}

    def exported(kind: Kind) -> Made:
        if kind.name not in done:
            folder = tmp_path_factory.mktemp("zoo")
            checkpoint, fast = kind.make(folder), str(tiny_pi.fast_tokenizer(folder / "fast"))
            words = [fast if word == "fast" else word for word in kind.words]
            told = folder / "inspect.json"
            code = cli.main(["export", str(checkpoint), "-o", str(folder / "bundle"), *words, "--json", str(told)])
            assert (code, told.is_file()) == (0, True)
            done[kind.name] = Made(kind, folder)
        return done[kind.name]

    return exported


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def made(request: pytest.FixtureRequest, export: Callable[[Kind], Made]) -> Made:
    return export(request.param)


@pytest.fixture(params=[kind for kind in KINDS if kind.family == "pi0_fast"], ids=lambda kind: kind.name)
def pi0_fast(request: pytest.FixtureRequest, export: Callable[[Kind], Made]) -> Made:
    return export(request.param)


def test_the_bundle_says_what_it_is(made: Made) -> None:
    kind, manifest = made.kind, json.loads((made.folder / "bundle" / "manifest.json").read_text())
    source, spec = manifest["source"], manifest["spec"]
    assert (source["family"], source["layout"], manifest["verdict"]) == (kind.family, kind.layout, "pass")
    assert {c["name"]: (c["height"], c["width"]) for c in spec["cameras"]} == kind.cameras
    assert {c["missing"] for c in spec["cameras"]} == {kind.missing}
    sizes = (spec["horizon"], len(spec["action"]["names"]), len(spec["state"]["names"]))
    assert sizes == (kind.horizon, kind.dims, kind.state)
    assert spec["head"]["kind"] == kind.head


def test_it_acts(made: Made) -> None:
    kind, told = made.kind, made.folder / "result.json"
    code, found = made.ask("--json", str(told))
    assert code == 0
    assert found["actions"].shape == found["actions_normalized"].shape == (kind.horizon, kind.dims)
    assert np.isfinite(found["actions"]).all()
    assert json.loads(told.read_text())["actions"] == found["actions"].tolist()
    assert np.array_equal(made.ask()[1]["actions"], found["actions"])


def test_it_answers_its_own_probes(made: Made) -> None:
    told = made.folder / "verify.json"
    assert cli.main(["verify", str(made.folder / "bundle"), "--json", str(told)]) == 0
    found = json.loads(told.read_text())["actions"]
    assert (found["verdict"], found["fault"]) == ("pass", "")
    assert found["observations"] == (1 if made.kind.head == "flow" else 2)
    assert found["tokens_same"] == (1.0 if made.kind.head == "tokens" else None)


@pytest.mark.parametrize("integrated", [True, False], ids=["integrated", "card"])
def test_a_gpu_answers_the_same_to_the_last_bit(made: Made, machine: Machine, integrated: bool) -> None:
    """The same policy code as one CUDA graph: on a simulated GPU, whose engines are run by ONNX Runtime."""
    machine.install(integrated=integrated, memory_bytes=1 << 30)
    bundle = made.folder / "bundle"
    compiled = compile_bundle(bundle, rebuild=True)
    assert compiled.answers is not None
    assert compiled.answers.verdict == "pass"
    on_cpu, on_gpu = (open_policy(bundle, backend, on_malformed="pad") for backend in ("ort", "trt"))
    for probe in read_probes(open_bundle(bundle)):
        wanted, found = (answer(policy, probe) for policy in (on_cpu, on_gpu))
        assert found[0].tobytes() == wanted[0].tobytes()
        assert found[1] == wanted[1]
    with recorded(on_cpu) as wanted, recorded(on_gpu) as found:
        answer(on_cpu, probe), answer(on_gpu, probe)
    assert list(found) == list(wanted)
    assert all(a.tobytes() == b.tobytes() for name in found for a, b in zip(found[name], wanted[name], strict=True))


def test_noise_counts_for_flow_alone(made: Made) -> None:
    a, b = (made.ask("--seed", seed)[1]["actions"] for seed in ("3", "4"))
    assert (np.abs(a - b).max() > 1e-3) == (made.kind.head == "flow")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.head == "flow"], ids=lambda kind: kind.name)
def test_noise_for_a_longer_chunk_is_refused(
    export: Callable[[Kind], Made], kind: Kind, capsys: pytest.CaptureFixture[str]
) -> None:
    made = export(kind)
    noise = np.zeros((1, kind.horizon + 1, 9), np.float32)
    save_file({"noise": noise}, made.folder / "noise.safetensors")
    capsys.readouterr()
    assert made.ask("--noise", str(made.folder / "noise.safetensors")) == (2, {})
    (line,) = capsys.readouterr().err.splitlines()
    assert "noise has shape [1, 6, 9], expected [5, 9]" in line
    save_file({"noise": noise[:, 1:]}, made.folder / "noise.safetensors")
    assert made.ask("--noise", str(made.folder / "noise.safetensors"))[0] == 0


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.family != "pi0_fast"], ids=lambda kind: kind.name)
def test_what_is_seen_counts(export: Callable[[Kind], Made], kind: Kind) -> None:
    a, b = (export(kind).ask(seed=seed)[1]["actions"] for seed in (0, 1))
    assert np.abs(a - b).max() > 1e-4


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.head == "flow"], ids=lambda kind: kind.name)
def test_a_camera_that_is_not_there_is_masked(export: Callable[[Kind], Made], kind: Kind) -> None:
    code, found = export(kind).ask(without=(list(kind.cameras)[-1],))
    assert (code, np.isfinite(found["actions"]).all()) == (0, True)
    assert np.abs(found["actions"] - export(kind).ask()[1]["actions"]).max() > 1e-4


def test_a_missing_camera_of_a_pi0_fast_is_a_black_one_or_none(pi0_fast: Made) -> None:
    """openpi's is shown black; lerobot's tokens are masked."""
    last = list(pi0_fast.kind.cameras)[-1]
    found = pi0_fast.ask("--intermediates", without=(last,))[1]
    patches, cameras = tiny_pi.VISION.patches, len(pi0_fast.kind.cameras)
    shown = found["prefix_mask"][0, (cameras - 1) * patches : cameras * patches]
    assert shown.all() if pi0_fast.kind.missing == "black" else not shown.any()
    assert (found["pixels"][0, -1] == -1.0).all()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.missing == "refuse"], ids=lambda kind: kind.name)
def test_a_camera_that_a_policy_cannot_do_without(
    export: Callable[[Kind], Made], kind: Kind, capsys: pytest.CaptureFixture[str]
) -> None:
    made, last = export(kind), list(kind.cameras)[-1]
    capsys.readouterr()
    assert made.ask(without=(last,)) == (2, {})
    (line,) = capsys.readouterr().err.splitlines()
    assert (f"camera {last}: there is no frame" if len(kind.cameras) > 1 else f"expected image.{last}") in line


def test_fast_tokens_become_actions(export: Callable[[Kind], Made]) -> None:
    """Coefficient of token i: i - 12, divided by 4; the inverse DCT-II over time; lerobot's quantiles."""
    code, found = export(SPEAKING).ask("--intermediates", "--on-malformed", "fault")
    assert code == 0
    said = [tiny_pi.ID[w] if w in tiny_pi.ID else tiny_pi.TOP - int(w.removeprefix("fast")) for w in SAID]
    assert found["token_ids"][: len(said)].tolist() == said
    x = (np.array(FAST, np.float64).reshape(5, 3) - 12) / 4.0
    rows = [
        x[0] * math.sqrt(1 / 5)
        + sum(x[k] * math.sqrt(2 / 5) * math.cos(math.pi * (2 * t + 1) * k / 10) for k in range(1, 5))
        for t in range(5)
    ]
    np.testing.assert_allclose(found["actions_normalized"], rows, rtol=0, atol=1e-6)
    low, high = (np.array(tiny_lerobot.STATISTICS["action"][name]) for name in ("q01", "q99"))
    np.testing.assert_allclose(found["actions"], (np.array(rows) + 1) / 2 * (high - low) + low, rtol=0, atol=1e-5)


def test_what_means_no_action_is_one_line(export: Callable[[Kind], Made], capsys: pytest.CaptureFixture[str]) -> None:
    """openpi's strict decoding makes zeros of it, which are had where they are asked for."""
    made = export(MUMBLING)
    capsys.readouterr()
    assert made.ask("--on-malformed", "fault") == (2, {})
    (line,) = capsys.readouterr().err.splitlines()
    assert "begins with the tokens" in line
    assert not made.ask("--on-malformed", "pad")[1]["actions_normalized"].any()


def test_pytorch_runs_the_files_as_onnx_runtime_does(made: Made) -> None:
    bundle = open_bundle(made.folder / "bundle")
    a, b = (
        run(runner(bundle, engine, on_malformed="pad"), example(bundle.spec, 20, 1))
        for engine in (ort.Engine(), torch_graph.Engine())
    )
    assert a.tokens == b.tokens
    for name, arrays in a.outputs.items():
        for x, y in zip(arrays, b.outputs[name], strict=True):
            np.testing.assert_allclose(y, x, rtol=0, atol=1e-4 * max(1.0, float(np.abs(x).max())), err_msg=name)
