"""`edge export`, then `edge quantize`, of a tiny model of each kind of head. The rest: test_quantize_command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import onnx
import pytest

from edge_runtime import cli
from edge_runtime.accuracy import Accuracy
from edge_runtime.bundle import Bundle, open_bundle
from edge_runtime.layer_table import LayerTable
from export.layers import groups
from export.observe import bundle_layers
from tests.export import quantizable, tiny, tiny_pi, tiny_prismatic
from tests.export.test_zoo_bundles import OFT, SAID, sizes

pytestmark = pytest.mark.slow

MAKE: dict[str, Callable[[Path], tuple[Path, tuple[str, ...]]]] = {
    "flow": lambda folder: (tiny.saved(folder), ()),
    "tokens": lambda folder: (
        tiny_pi.lerobot(folder / "c", "pi0_fast", said=SAID),
        ("--fast-tokenizer", str(tiny_pi.fast_tokenizer(folder / "fast"))),
    ),
    "regression": lambda folder: (tiny_prismatic.saved(folder / "c", tiny_prismatic.oft()), sizes(**OFT)),
}
PARTS = {
    "flow": {"vision", "table", "backbone", "expert", "projections"},
    "tokens": {"vision", "table", "backbone", "projections"},
    "regression": {"vision", "table", "backbone", "projections"},
}


@pytest.fixture(scope="module", params=MAKE)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Path]:
    """A float32 bundle of each head, and a recording for it; exported once."""
    folder = tmp_path_factory.mktemp(request.param)
    checkpoint, words = MAKE[request.param](folder)
    assert cli.main(["export", str(checkpoint), "-o", str(folder / "bundle"), *words]) == 0
    bundle = open_bundle(folder / "bundle")
    return bundle, quantizable.recording(folder / "recording", bundle.spec, "pick red")


def quantize(made: tuple[Bundle, Path], out: Path, *words: str) -> Bundle:
    bundle, data = made
    given = [str(bundle.path), str(data), "-o", str(out), "--threads", "1", "--observations", "4", *words]
    assert cli.main(["quantize", *given]) == 0
    return open_bundle(out)


@pytest.mark.parametrize("target", ["cpu", "jetpack6-orin"])
def test_the_whole_way(
    made: tuple[Bundle, Path], target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Within the gate, with random weights too: most of what rounding does is small noise."""
    original, _ = made
    before = {file.name: file.read_bytes() for file in original.path.iterdir()}
    words = ["--target", target, *(["--keep-fp", "2"] if target == "cpu" else ["--no-sensitivity"])]
    bundle = quantize(made, tmp_path / "out", *words)
    assert {file.name: file.read_bytes() for file in original.path.iterdir()} == before
    quantization = bundle.manifest.quantization
    assert quantization is not None
    assert quantization.origin == original.manifest.seal
    assert set(quantization.parts) == PARTS[type(bundle.spec.head).__struct_config__.tag]  # type: ignore[index]
    accuracy = msgspec.json.decode((bundle.path / "accuracy.json").read_bytes(), type=Accuracy)
    assert accuracy.verdict == bundle.manifest.verdict == "pass"
    assert {name.partition(".")[0] for name in accuracy.components} == set(bundle.manifest.graphs)
    errors = {name: row.relative_error for name, row in accuracy.components.items() if not name.startswith("image.")}
    assert 0.0 < max(errors.values()) < 0.1
    rows = msgspec.json.decode((bundle.path / "layers.json").read_bytes(), type=LayerTable).layers
    every = {layer.name for layers in bundle_layers(original).values() for layer in layers}
    assert {row.name for row in rows} == every
    floats = [row for row in rows if row.precision != "int8"]
    if target == "cpu":
        assert floats == list(rows[:2])
    else:
        assert {row.part for row in floats} == {"vision"}
    smaller = [name for name in original.manifest.graphs if name != "image"]
    assert all(bundle.manifest.costs[name].bytes < original.manifest.costs[name].bytes for name in smaller)
    for name in bundle.manifest.graphs:
        proto = onnx.load(str(bundle.graph(name)))
        onnx.checker.check_model(proto, full_check=True)
        assert [(opset.domain, opset.version <= 20) for opset in proto.opset_import] == [("", True)]
    assert cli.main(["verify", str(bundle.path)]) == 0
    capsys.readouterr()
    assert cli.main(["inspect", str(bundle.path)]) == 0
    assert f"made for     {target}" in capsys.readouterr().out


def test_against_its_original(made: tuple[Bundle, Path], tmp_path: Path) -> None:
    """A backbone in bfloat16, which PyTorch judges: what stands in accuracy.json comes out again."""
    original, data = made
    words = ["--target", "jetpack6-orin", "--no-sensitivity", "--accept-accuracy", "--precision", "backbone=bf16"]
    bundle = quantize(made, tmp_path / "out", *words)
    told = tmp_path / "told.json"
    given = ["--against", str(original.path), "--data", str(data), "--observations", "8", "--json", str(told)]
    assert cli.main(["verify", str(bundle.path), *given]) == 0
    stored, found = json.loads((bundle.path / "accuracy.json").read_bytes()), json.loads(told.read_text())
    assert found["components"] == stored["components"]
    assert found["actions"] == stored["actions"]


def test_graphs_of_one_model_group_their_layers_alike(made: tuple[Bundle, Path]) -> None:
    """What `export.recipe.tied` joins was joined already: no norm is balanced beside it in one graph alone."""
    found: dict[str, frozenset[str]] = {}
    for layers in bundle_layers(made[0]).values():
        for group in groups(layers):
            names = frozenset(layer.name for layer in group)
            assert all(found.setdefault(name, names) == names for name in names)
