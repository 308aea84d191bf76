"""A bundle is what was sealed, byte for byte, or it is refused in one line that names the file or the field."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge_runtime.bundle import open_bundle, seal
from edge_runtime.bundle_spec import Manifest
from edge_runtime.errors import BundleError
from tests.edge_runtime import tiny_bundle
from tests.edge_runtime.policies import token_bundle

FILES = (
    *("manifest.json", "image.onnx", "prefix.onnx", "prefix.onnx.data", "step.onnx"),
    *("constants.safetensors", "tokenizer.json", "accuracy.json", "probes.safetensors"),
)


def refusal(folder: Path) -> str:
    with pytest.raises(BundleError) as caught:
        open_bundle(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_was_sealed_is_opened(tmp_path: Path) -> None:
    bundle = open_bundle(tiny_bundle.write(tmp_path / "b"))
    assert bundle.spec == tiny_bundle.SPEC
    assert set(bundle.manifest.files) == set(FILES) - {"manifest.json"}
    assert bundle.graph("step") == tmp_path / "b" / "step.onnx"
    assert bundle.manifest.files["prefix.onnx.data"].size == 256


def test_sealing_again_changes_nothing(tmp_path: Path) -> None:
    folder = tiny_bundle.write(tmp_path / "b")
    before = (folder / "manifest.json").read_bytes()
    seal(folder, open_bundle(folder).manifest)
    assert (folder / "manifest.json").read_bytes() == before


def test_what_the_robot_made_is_no_part_of_it(tmp_path: Path) -> None:
    folder = tiny_bundle.write(tmp_path / "b")
    (folder / "engines").mkdir()
    (folder / "engines" / "step.engine").touch()
    assert "engines/step.engine" not in open_bundle(folder).manifest.files


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_byte_anywhere(tmp_path: Path, name: str) -> None:
    """Every byte of a small file, a spread of them in the manifest; both the lowest bit and the highest."""
    folder = tiny_bundle.write(tmp_path / "b")
    path = folder / name
    good = path.read_bytes()
    for at in range(0, len(good), max(1, len(good) // 300)):
        for bit in (0x01, 0x80):
            path.write_bytes(good[:at] + bytes([good[at] ^ bit]) + good[at + 1 :])
            assert str(path) in refusal(folder)
    path.write_bytes(good)
    open_bundle(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_missing_or_cut(tmp_path: Path, name: str) -> None:
    folder = tiny_bundle.write(tmp_path / "b")
    path = folder / name
    path.write_bytes(path.read_bytes()[:-1])
    assert str(path) in refusal(folder)
    path.unlink()
    assert str(path) in refusal(folder)


def test_a_file_that_nobody_sealed(tmp_path: Path) -> None:
    folder = tiny_bundle.write(tmp_path / "b")
    (folder / "extra").mkdir()
    (folder / "extra" / "notes.txt").touch()
    assert "extra/notes.txt: not in the manifest" in refusal(folder)


def test_a_link_is_no_file(tmp_path: Path) -> None:
    folder = tiny_bundle.write(tmp_path / "b")
    (folder / "step.onnx").rename(tmp_path / "step.onnx")
    (folder / "step.onnx").symlink_to(tmp_path / "step.onnx")
    assert "step.onnx: the manifest names it and it is not there as a plain file" in refusal(folder)


def test_a_directory_that_is_a_link_is_no_place_for_files(tmp_path: Path) -> None:
    folder = tiny_bundle.write(tmp_path / "b")
    (folder / "more").mkdir()
    (folder / "more" / "x").write_text("x")
    seal(folder, open_bundle_manifest(folder))
    open_bundle(folder)
    (folder / "more").rename(tmp_path / "more")
    (folder / "more").symlink_to(tmp_path / "more")
    assert "more/x: the manifest names it" in refusal(folder)


def open_bundle_manifest(folder: Path) -> Manifest:
    return msgspec.json.decode((folder / "manifest.json").read_bytes(), type=Manifest)


def test_no_bundle_at_all(tmp_path: Path) -> None:
    assert "no such bundle" in refusal(tmp_path / "nothing")
    assert "manifest.json: cannot be read" in refusal(tmp_path)


def reseal(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest and give it the right seal: what is wrong then is what it says."""
    import hashlib

    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    change(content)
    content["seal"] = "0" * 64
    text = json.dumps(content)
    path.write_text(text.replace("0" * 64, hashlib.sha256(text.encode()).hexdigest()))


@pytest.mark.parametrize("name", ["../b/step.onnx", "/etc/hostname", "./step.onnx", "a//b", "engines/x", "..", "."])
def test_a_name_that_leads_elsewhere(tmp_path: Path, name: str) -> None:
    folder = tiny_bundle.write(tmp_path / "b")
    reseal(folder, lambda m: m["files"].update({name: m["files"]["step.onnx"]}))
    assert f"files names '{name}', which is not a file inside the bundle" in refusal(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.update(format=1), "format is 1, this runtime reads 3; export it again"),
        (lambda m: m.update(format=2), "format is 2, this runtime reads 3"),
        (lambda m: m.update(format=4), "format is 4, this runtime reads 3"),
        (lambda m: m.update(colour="red"), "unknown field `colour`"),
        (lambda m: m.pop("spec"), "missing required field `spec`"),
        (lambda m: m["spec"].update(control_mode="jerky"), "`$.spec.control_mode`"),
        (lambda m: m["spec"]["head"].update(kind="diffusion"), "`$.spec.head.kind`"),
        (lambda m: m["spec"]["head"].pop("cache"), "missing required field `cache` - at `$.spec.head`"),
        (lambda m: m["spec"]["cameras"][0].update(missing="guess"), "`$.spec.cameras[0].missing`"),
        (
            lambda m: m["graphs"].update(step="other.onnx"),
            "graphs.step names 'other.onnx', which is not among its files",
        ),
        (lambda m: m.update(tokenizer="none.json"), "tokenizer names 'none.json'"),
        (
            lambda m: m.update(probes="none.safetensors"),
            "probes names 'none.safetensors', which is not among its files",
        ),
        (lambda m: m.pop("probes"), "missing required field `probes`"),
        (lambda m: m.update(verdict="perhaps"), "`$.verdict`"),
        (lambda m: m.update(verdict="fail"), "verdict: it did not pass its accuracy gate"),
        (lambda m: m.update(policy="../evil"), "unknown field `policy`"),
        (lambda m: m["graphs"].pop("step"), "graphs: has image, prefix; this head needs image, prefix, step"),
        (lambda m: m["graphs"].update(decode="step.onnx"), "graphs: has image, prefix, step, decode; this head needs"),
        (lambda m: m["costs"].pop("prefix"), "costs: has image, step; this head needs image, prefix, step"),
        (lambda m: m["spec"].update(horizon=0), "spec.horizon: 0 is not a positive number"),
    ],
)
def test_a_manifest_that_says_what_cannot_be(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    folder = tiny_bundle.write(tmp_path / "b")
    reseal(folder, change)
    assert f"{folder / 'manifest.json'}: " in refusal(folder)
    assert words in refusal(folder)


def test_a_graph_that_the_policy_has_not(tmp_path: Path) -> None:
    bundle = open_bundle(tiny_bundle.write(tmp_path / "b"))
    with pytest.raises(BundleError, match=r"manifest\.json: graphs has no decode; export"):
        bundle.graph("decode")


def test_a_manifest_that_never_ends(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(b"[" * 200_000)
    assert "manifest.json: " in refusal(tmp_path)


def test_a_fast_tokenizer_is_a_file_of_the_bundle(tmp_path: Path) -> None:
    bundle = token_bundle.fast(tmp_path / "b")
    assert "fast_tokenizer.json" in bundle.manifest.files
    reseal(bundle.path, lambda m: m["spec"]["head"]["scheme"].update(tokenizer="other.json"))
    assert "spec.head.scheme.tokenizer names 'other.json', which is not among its files" in refusal(bundle.path)
