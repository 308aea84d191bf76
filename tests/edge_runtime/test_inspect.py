"""What a person and a program are told of a bundle."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from edge_runtime.errors import BundleError
from edge_runtime.inspect import inspect
from tests.edge_runtime import tiny_bundle


def test_the_words_and_the_facts(tmp_path: Path) -> None:
    words, facts = inspect(tiny_bundle.write(tmp_path / "b"))
    for expected in (
        "pi0 policy bundle, format 1, from the lerobot layout",
        "base 6×4, wrist 3×3",
        "2 of 4: a, b (rad)",
        "3 actions at 20 Hz, as the checkpoint says",
        "4 steps, t 1 → 0",
        "at most 8 tokens",
        "1,234,567   float32",
        "against PyTorch: pass",
        "prefix.onnx.data",
    ):
        assert expected in words
    assert json.loads(json.dumps(facts))["manifest"]["spec"]["horizon"] == 3
    assert facts["accuracy"]["verdict"] == "pass"


def test_a_rate_and_a_unit_that_nobody_recorded(tmp_path: Path) -> None:
    source = msgspec.structs.replace(tiny_bundle.MANIFEST.source, rate="assumed")
    manifest = msgspec.structs.replace(tiny_bundle.MANIFEST, source=source)
    state = msgspec.structs.replace(tiny_bundle.SPEC.state, units=("", ""))
    words, _ = inspect(tiny_bundle.write(tmp_path / "b", manifest, state=state))
    assert "20 Hz, assumed: the checkpoint does not say" in words
    assert "a, b (unit not recorded)" in words


def test_a_damaged_bundle_is_not_described(tmp_path: Path) -> None:
    folder = tiny_bundle.write(tmp_path / "b")
    (folder / "step.onnx").write_bytes(b"something else!!")
    with pytest.raises(BundleError, match=r"step\.onnx"):
        inspect(folder)
