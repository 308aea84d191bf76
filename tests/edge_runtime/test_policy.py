"""From a path to a policy, by names."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from edge_runtime.errors import BackendError, BundleError, EdgeError
from edge_runtime.policy import open_policy
from tests.edge_runtime import tiny_bundle, tiny_tokenizer


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return tiny_bundle.write(tmp_path / "b")


def test_the_bundle_is_checked_first(bundle: Path) -> None:
    (bundle / "step.onnx").unlink()
    with pytest.raises(BundleError, match=r"step\.onnx"):
        open_policy(bundle, backend="none")


def test_a_backend_that_does_not_exist(bundle: Path) -> None:
    with pytest.raises(EdgeError, match=r'there is no "orr".*ort'):
        open_policy(bundle, backend="orr")


def test_a_policy_that_does_not_exist(tmp_path: Path) -> None:
    manifest = msgspec.structs.replace(tiny_bundle.MANIFEST, policy="flaw")
    with pytest.raises(EdgeError, match=r'there is no "flaw".*flow'):
        open_policy(tiny_bundle.write(tmp_path / "b", manifest))


def test_graphs_are_given_to_the_backend_of_that_name(tmp_path: Path) -> None:
    from edge_runtime.bundle import seal

    folder = tiny_bundle.write(tmp_path / "b")
    tiny_tokenizer.write(folder / "tokenizer.json")
    seal(folder, tiny_bundle.MANIFEST)
    with pytest.raises(BackendError, match=r"image\.onnx: ONNX Runtime .* refuses it"):
        open_policy(folder)
