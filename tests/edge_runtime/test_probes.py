"""Probes come back as they were written; a file that is not the policy's probes is refused in one line."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save, save_file

from edge_runtime.bundle import Bundle
from edge_runtime.bundle_spec import CameraSpec, Normalisation, VectorSpec
from edge_runtime.errors import BundleError
from edge_runtime.policies.base import Ahead, Prompt
from edge_runtime.probes import Probe, read_probes, write_probes
from tests.edge_runtime import tiny_bundle

REPLACE = msgspec.structs.replace
TENSORS = (
    *("0.state", "0.instruction", "0.tokens", "0.token_mask", "0.noise", "0.actions", "0.written"),
    *("0.image.base", "0.image.wrist"),
)


def bundle_of(folder: Path, **spec: Any) -> Bundle:
    """A bundle that is not on the disk, but for what is written of it."""
    changed = REPLACE(tiny_bundle.SPEC, **spec)
    return Bundle(folder, REPLACE(tiny_bundle.MANIFEST, spec=changed))


def path_of(bundle: Bundle) -> Path:
    return bundle.path / bundle.manifest.probes


def there_and_back(bundle: Bundle, *probes: Probe) -> list[Probe]:
    write_probes(path_of(bundle), probes)
    return read_probes(bundle)


def assert_same(found: Probe, wanted: Probe) -> None:
    a, b = found.observation, wanted.observation
    assert list(a.frames) == list(b.frames)
    assert a.prompt.instruction == b.prompt.instruction
    assert found.written == wanted.written
    tensors = [(a.frames[name], frame) for name, frame in b.frames.items()]
    tensors += [(a.state, b.state), (a.prompt.tokens, b.prompt.tokens), (a.prompt.mask, b.prompt.mask)]
    assert (a.ahead is None) == (b.ahead is None)
    if a.ahead is not None and b.ahead is not None:
        assert (a.ahead.committed, a.ahead.known) == (b.ahead.committed, b.ahead.known)
        tensors.append((a.ahead.actions, b.ahead.actions))
    for x, y in (*tensors, (found.noise, wanted.noise), (found.actions, wanted.actions)):
        assert x.dtype == y.dtype
        assert np.array_equal(x, y)


def refusal(bundle: Bundle) -> str:
    with pytest.raises(BundleError) as caught:
        read_probes(bundle)
    said = str(caught.value)
    assert "\n" not in said
    assert said.startswith(f"{path_of(bundle)}: ")
    assert said.endswith("; make the bundle again")
    return said.removeprefix(f"{path_of(bundle)}: ").removesuffix("; make the bundle again")


@pytest.mark.parametrize("count", [1, 2, 12])
def test_probes_come_back_in_their_order(tmp_path: Path, count: int) -> None:
    probes = [tiny_bundle.probe(seed=seed) for seed in range(count)]
    found = there_and_back(bundle_of(tmp_path), *probes)
    for a, b in zip(found, probes, strict=True):
        assert_same(a, b)


def going_on(committed: int, known: int) -> Probe:
    probe = tiny_bundle.probe()
    ahead = Ahead(np.arange(6, dtype=np.float32).reshape(3, 2), committed, known)
    return replace(probe, observation=replace(probe.observation, ahead=ahead))


def test_a_chunk_that_goes_on_has_the_running_one(tmp_path: Path) -> None:
    probes = [going_on(1, 2), tiny_bundle.probe(), going_on(0, 3)]
    for a, b in zip(there_and_back(bundle_of(tmp_path), *probes), probes, strict=True):
        assert_same(a, b)


@pytest.mark.parametrize(("committed", "known"), [(-1, 2), (2, 1), (1, 4)])
def test_rows_that_the_running_chunk_cannot_have(tmp_path: Path, committed: int, known: int) -> None:
    bundle = bundle_of(tmp_path)
    write_probes(path_of(bundle), [going_on(committed, known)])
    assert refusal(bundle) == f"0.rows are {committed} of {known} of 3"


def test_a_running_chunk_needs_its_rows(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path)
    write_probes(path_of(bundle), [going_on(1, 2)])
    tensors = load_file(path_of(bundle))
    save_file({name: t for name, t in tensors.items() if name != "0.rows"}, path_of(bundle))
    assert refusal(bundle) == "0.rows is missing or of another form"
    save_file({name: t for name, t in tensors.items() if name != "0.ahead"}, path_of(bundle))
    assert refusal(bundle) == "'0.rows' belongs to no probe of this policy"


@pytest.mark.parametrize("words", ["", "pick up the red cup", "nimm die Tasse – 杯子を取って 🤖\n"])
def test_an_instruction_in_any_words(tmp_path: Path, words: str) -> None:
    probe = tiny_bundle.probe()
    prompt = Prompt(words, probe.observation.prompt.tokens, probe.observation.prompt.mask)
    probe = replace(probe, observation=replace(probe.observation, prompt=prompt), written=(7, 0, 1 << 40))
    assert_same(there_and_back(bundle_of(tmp_path), probe)[0], probe)


def test_a_camera_that_was_missing_stays_so(tmp_path: Path) -> None:
    probe = tiny_bundle.probe()
    frames = {"wrist": probe.observation.frames["wrist"]}
    probe = replace(probe, observation=replace(probe.observation, frames=frames))
    assert list(there_and_back(bundle_of(tmp_path), probe)[0].observation.frames) == ["wrist"]


def test_a_policy_that_reads_no_state(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path, state=VectorSpec((), (), 0), state_normalisation=Normalisation("none"))
    probe = tiny_bundle.probe(bundle.spec)
    assert there_and_back(bundle, probe)[0].observation.state.shape == (0,)


def test_arrays_that_do_not_lie_in_order(tmp_path: Path) -> None:
    probe = tiny_bundle.probe()
    probe = replace(probe, noise=np.arange(15, dtype=np.float32).reshape(5, 3).T)
    assert_same(there_and_back(bundle_of(tmp_path), probe)[0], probe)


# ── what is refused ─────────────────────────────────────────────────────────────────────────────────────────────────


def spoil(bundle: Bundle, **changed: Any) -> str:
    """Write one probe with tensors changed, "image_base" stands for "image.base"; None takes one away."""
    write_probes(path_of(bundle), [tiny_bundle.probe(bundle.spec)])
    tensors = load_file(path_of(bundle))
    for name, tensor in changed.items():
        tensors["0." + name.replace("image_", "image.")] = tensor
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, path_of(bundle))
    return refusal(bundle)


@pytest.mark.parametrize("name", [name for name in TENSORS if not name.startswith("0.image")])
def test_a_tensor_is_missing(tmp_path: Path, name: str) -> None:
    said = spoil(bundle_of(tmp_path), **{name.removeprefix("0."): None})
    assert said == f"{name} is missing or of another form"


@pytest.mark.parametrize("name", TENSORS)
def test_a_tensor_of_another_type_or_rank(tmp_path: Path, name: str) -> None:
    bundle = bundle_of(tmp_path)
    write_probes(path_of(bundle), [tiny_bundle.probe()])
    good = load_file(path_of(bundle))[name]
    key = name.removeprefix("0.").replace("image.", "image_")
    assert spoil(bundle, **{key: good.astype(np.float64)}) == f"{name} is missing or of another form"
    assert spoil(bundle, **{key: good[None]}) == f"{name} is missing or of another form"


@pytest.mark.parametrize("name", [name for name in TENSORS if name not in ("0.instruction", "0.written")])
def test_a_tensor_of_another_size(tmp_path: Path, name: str) -> None:
    bundle = bundle_of(tmp_path)
    write_probes(path_of(bundle), [tiny_bundle.probe()])
    good = load_file(path_of(bundle))[name]
    key = name.removeprefix("0.").replace("image.", "image_")
    assert spoil(bundle, **{key: good[:-1]}) == f"{name} has shape {list(good[:-1].shape)}, not the policy's"


@pytest.mark.parametrize("token", [-1, 8])
def test_a_token_outside_of_the_models_table(tmp_path: Path, token: int) -> None:
    bundle = bundle_of(tmp_path, prompt=REPLACE(tiny_bundle.SPEC.prompt, vocab=8))
    tokens = np.arange(8)
    tokens[7] = token
    assert spoil(bundle, tokens=tokens) == "0.tokens are not in the model's table"
    there_and_back(bundle, tiny_bundle.probe())


def test_a_camera_that_the_policy_cannot_do_without(tmp_path: Path) -> None:
    cameras = (CameraSpec("base", 4, 6, "refuse"), CameraSpec("wrist", 3, 3))
    said = spoil(bundle_of(tmp_path, cameras=cameras), image_base=None)
    assert said == "0.image.base is missing or of another form"


def test_an_instruction_that_is_no_text(tmp_path: Path) -> None:
    said = spoil(bundle_of(tmp_path), instruction=np.frombuffer(b"up\xff", np.uint8))
    assert said == "0.instruction is no text"


@pytest.mark.parametrize("name", ["0.image.elbow", "0.", "0"])
def test_what_belongs_to_no_probe(tmp_path: Path, name: str) -> None:
    bundle = bundle_of(tmp_path)
    write_probes(path_of(bundle), [tiny_bundle.probe()])
    save_file({**load_file(path_of(bundle)), name: np.zeros(1)}, path_of(bundle))
    assert refusal(bundle) == f"'{name}' belongs to no probe of this policy"


@pytest.mark.parametrize("name", ["", "x", "2.state", "00.state", "-1.state"])
def test_probes_are_counted_from_0(tmp_path: Path, name: str) -> None:
    bundle = bundle_of(tmp_path)
    write_probes(path_of(bundle), [tiny_bundle.probe()])
    save_file({**load_file(path_of(bundle)), name: np.zeros(1)}, path_of(bundle))
    assert refusal(bundle) == "1.instruction is missing or of another form"


def test_no_probe_at_all(tmp_path: Path) -> None:
    write_probes(path_of(bundle_of(tmp_path)), [])
    assert refusal(bundle_of(tmp_path)) == "holds no probe"


def test_no_file_or_none_of_tensors(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path)
    assert "cannot be read" in refusal(bundle)
    path_of(bundle).write_text("{}")
    assert "cannot be read" in refusal(bundle)


@pytest.mark.parametrize("kind", ["BF16", "F8_E4M3", "F4", "X9", ""])
def test_a_type_that_numpy_lacks(tmp_path: Path, kind: str) -> None:
    bundle = bundle_of(tmp_path)
    header = json.dumps({"0.state": {"dtype": kind, "shape": [2], "data_offsets": [0, 4]}}).encode()
    path_of(bundle).write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    refusal(bundle)


GOOD = save({"0.state": np.zeros(2, np.float32), "0.instruction": np.zeros(3, np.uint8)})


@settings(max_examples=300)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.binary(max_size=200).map(lambda text: struct.pack("<Q", len(text)) + text),
        st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)).map(
            lambda change: GOOD[: change[0]] + bytes([change[1]]) + GOOD[change[0] + 1 :]
        ),
        st.integers(0, len(GOOD)).map(lambda n: GOOD[:n]),
    )
)
def test_whatever_its_bytes_are_it_is_one_line(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    bundle = bundle_of(tmp_path_factory.getbasetemp())
    path_of(bundle).write_bytes(content)
    refusal(bundle)
