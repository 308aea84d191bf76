"""`edge config --check` says before a run what the bundle cannot do, if it is here."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from edge_runtime import cli, config_parts
from edge_runtime.bundle import seal
from edge_runtime.bundle_spec import GUIDE, Cost, PolicySpec
from edge_runtime.errors import ConfigError
from tests.edge_runtime import tiny_bundle
from tests.edge_runtime.fakes import spec
from tests.edge_runtime.test_config import write
from tests.robot_toml import NAMES, ROBOT

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
TensorProto, helper = onnx.TensorProto, onnx.helper

FITS = msgspec.structs.replace(tiny_bundle.MANIFEST, spec=spec(NAMES))
HEAD = msgspec.structs.replace(tiny_bundle.SPEC.head, committed=2)  # type: ignore[arg-type]
MANIFEST = msgspec.structs.replace(
    tiny_bundle.MANIFEST,
    graphs={**tiny_bundle.MANIFEST.graphs, GUIDE: "guide.onnx"},
    costs={**tiny_bundle.MANIFEST.costs, GUIDE: Cost(1, "float32", 4, 2)},
    spec=msgspec.structs.replace(FITS.spec, head=HEAD),
)


def robot(folder: Path, seam: str = "blend", prefix_every: int = 1) -> Path:
    text = ROBOT.replace("[policy]", f'[motion]\nseam = "{seam}"\n\n[policy]\nprefix_every = {prefix_every}')
    return write(folder, text)


def step(path: Path, *inputs: str) -> None:
    """A step graph that takes `inputs`."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in (*inputs, "velocity")]
    nodes = [helper.make_node("Sum", list(inputs), ["velocity"])]
    graph = helper.make_graph(nodes, "step", values[:-1], values[-1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]), str(path))


@pytest.mark.parametrize(
    ("seam", "words"),
    [
        ("committed", r'policy: \S+: motion\.seam is "committed", and its checkpoint was not trained '),
        ("guided", r'policy: \S+: motion\.seam is "guided", and it has no guide graph'),
    ],
)
def test_a_seam_that_the_bundle_cannot_make(tmp_path: Path, seam: str, words: str) -> None:
    path, bundle = robot(tmp_path, seam), tmp_path / "bundle"
    config_parts.load(path)  # of a bundle that is not here yet nothing is known
    tiny_bundle.write(bundle, FITS)
    with pytest.raises(ConfigError, match=words) as caught:
        config_parts.load(path)
    assert "\n" not in str(caught.value)
    shutil.rmtree(bundle)
    tiny_bundle.write(bundle, MANIFEST)
    config_parts.load(path)


def test_a_prefix_that_cannot_be_shared(tmp_path: Path) -> None:
    path, bundle = robot(tmp_path, prefix_every=3), tiny_bundle.write(tmp_path / "bundle", FITS)
    for inputs, fits in ((("x_t", "cond"), False), (("x_t", "state"), True)):
        step(bundle / "step.onnx", *inputs)
        seal(bundle, FITS)
        if fits:
            config_parts.load(path)
            continue
        with pytest.raises(ConfigError, match=r"take no state, .* set policy\.prefix_every to 1, not 3"):
            config_parts.load(path)


@pytest.mark.parametrize("command", [["config", "--check"], ["run"]], ids=["check", "run"])
@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (spec(NAMES, ("base", "waist")), 'cameras[1].name: the policy has no camera wrist, did you mean "waist"?'),
        (spec(NAMES[:5]), "{bundle}: state of 5 dimensions, the robot has 6 joints"),
    ],
)
def test_a_bundle_for_another_robot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str], policy: PolicySpec, words: str
) -> None:
    path = robot(tmp_path)
    bundle = tiny_bundle.write(tmp_path / "bundle", msgspec.structs.replace(FITS, spec=policy))
    assert cli.main([*command, str(path)]) == 2
    assert capsys.readouterr().err == f"edge: {path}: {words.format(bundle=bundle)}\n"


def test_a_bundle_that_is_not_there_yet_is_said_and_is_good(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, bundle = robot(tmp_path), tmp_path / "bundle"
    for here in (False, True):
        if here:
            tiny_bundle.write(bundle, FITS)
        assert cli.main(["config", "--check", str(path)]) == 0
        err = capsys.readouterr().err
        assert err.startswith("" if here else f"edge: {path}: policy.bundle: {bundle} is not there yet, so whether it ")
        assert err.count("\n") == (0 if here else 1)


def test_a_manifest_that_was_changed(tmp_path: Path) -> None:
    path, bundle = robot(tmp_path), tiny_bundle.write(tmp_path / "bundle")
    manifest = bundle / "manifest.json"
    manifest.write_text(manifest.read_text().replace("wrist", "waist", 1))
    with pytest.raises(ConfigError, match=r"manifest\.json: seal does not match"):
        config_parts.load(path)
