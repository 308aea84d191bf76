"""What a manifest may say: every line of `impossible`, each head there and back, and what is possible after all."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from edge_runtime.bundle_spec import (
    GRAPHS,
    GUIDE,
    BinScheme,
    CameraSpec,
    Cost,
    FastScheme,
    FlowSpec,
    Head,
    IntegerScheme,
    Manifest,
    Normalisation,
    PoseSpec,
    PoseVector,
    PromptSpec,
    Quantization,
    RegressionSpec,
    TokenSpec,
    VectorSpec,
    impossible,
)
from tests.edge_runtime import tiny_bundle

FAST = FastScheme("fast.json", (5, 6), 1, 99, -70, 10.0, relaxed=True)
FLOW = tiny_bundle.SPEC.head
HEADS = (
    FLOW,
    TokenSpec(6, BinScheme()),
    TokenSpec(9, BinScheme(terminate=True)),
    TokenSpec(40, IntegerScheme(stop=1, terminate=True)),
    TokenSpec(40, FAST, on_malformed="pad"),
    RegressionSpec(),
)
REPLACE = msgspec.structs.replace
TWO = Normalisation("mean_std", (1.0, 2.0), (0.5, 4.0))


def manifest(**spec: Any) -> Manifest:
    """That of the tiny bundle, with other fields of its spec, and the graphs that its head needs."""
    changed = REPLACE(tiny_bundle.SPEC, **spec)
    names = GRAPHS[type(changed.head)]
    return REPLACE(
        tiny_bundle.MANIFEST,
        spec=changed,
        graphs={name: f"{name}.onnx" for name in names},
        costs=dict.fromkeys(names, Cost(7, "float32", 28, 99)),
    )


@pytest.mark.parametrize("head", HEADS, ids=repr)
def test_every_head_is_possible_and_comes_back_from_json(head: Head) -> None:
    told = manifest(head=head)
    assert impossible(told) == ""
    assert msgspec.json.decode(msgspec.json.encode(told), type=Manifest) == told


NOTHING, NONE = VectorSpec((), (), 0), Normalisation("none")


@pytest.mark.parametrize(
    "spec",
    [
        {"state": NOTHING, "state_normalisation": NONE},
        {"state": VectorSpec((), (), 32), "state_normalisation": NONE},
        {"state": NOTHING, "state_normalisation": Normalisation("mean_std")},
        {"prompt": PromptSpec("{state} {instruction}", 8, None, 0)},
        {"relative": (True, False)},
        {"relative": (False, False), "state": NOTHING, "state_normalisation": NONE},
        {"cameras": (CameraSpec("a", 1, 1 << 14), CameraSpec("b", 1, 1, "refuse"))},
        {"state_normalisation": REPLACE(TWO, b=(0.0, 4.0), eps_in=1e-6)},
        {"state_normalisation": REPLACE(TWO, b=(0.0, 4.0), mask=(False, True), clip=1.0)},
        {"state_normalisation": Normalisation("quantiles", (1.0, 2.0), (1.0, 4.0), mask=(False, True))},
        {"action_normalisation": REPLACE(TWO, b=(0.0, -4.0))},  # nothing divides by these
    ],
    ids=repr,
)
def test_what_is_possible_after_all(spec: dict[str, Any]) -> None:
    assert impossible(manifest(**spec)) == ""


SEVEN = VectorSpec(tuple("xyzabcg"), ("",) * 7, 7)
GRIP = PoseVector("euler_xyz", (0.0,), (1.0,))
POSE = PoseSpec("tool", GRIP, GRIP, level=(0.0, 0.0, 1.0, 0.0, 1.0, 0.0, -1.0, 0.0, 0.0))


def posed(pose: PoseSpec = POSE, **spec: Any) -> Manifest:
    """That of a policy in end-effector space, with other fields of its spec."""
    usual = {"action": SEVEN, "state": SEVEN, "action_normalisation": NONE, "state_normalisation": NONE}
    return manifest(**{**usual, "control_mode": "delta", "pose": pose, **spec})


def test_a_policy_in_end_effector_space_comes_back_from_json() -> None:
    assert impossible(posed()) == ""
    assert impossible(posed(REPLACE(POSE, state=None), state=NOTHING)) == ""
    assert msgspec.json.decode(msgspec.json.encode(posed()), type=Manifest) == posed()


def test_an_older_manifest_says_nothing_of_it() -> None:
    told = msgspec.json.decode(msgspec.json.encode(manifest()))
    del told["spec"]["pose"]
    assert msgspec.convert(told, Manifest) == manifest()


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (posed(action=VectorSpec(tuple("xyzabc"), ("",) * 6, 7)), "pose.action: is a pose and one number of a gripper"),
        (posed(REPLACE(POSE, action=PoseVector("euler_xyz", (0.0, 0.0), (1.0, 1.0)))), "pose.action: is a pose"),
        (posed(REPLACE(POSE, state=None)), "pose.state: does not say how the pose stands in 7 dimensions"),
        (posed(state=NOTHING), "pose.state: does not say how the pose stands in 0 dimensions"),
        (posed(control_mode="absolute"), "pose.frame: a pose that is no delta"),
        (posed(REPLACE(POSE, level=(1.0,))), "pose.level: is no rotation"),
        (posed(REPLACE(POSE, level=(1.0, 0, 0, 0, 1.0, 0, 0, 0, -1.0))), "pose.level: is no rotation"),
        (posed(REPLACE(POSE, level=(math.nan,) * 9)), "pose.level: is no rotation"),
        (posed(REPLACE(POSE, action=REPLACE(GRIP, metres=0.0))), "pose.action.metres: 0.0 is not a positive number"),
        (posed(REPLACE(POSE, state=REPLACE(GRIP, radians=math.inf))), "pose.state.radians: inf is not"),
        (posed(REPLACE(POSE, action=REPLACE(GRIP, closed=(1.0,)))), "pose.action: a gripper that is closed cannot be"),
        (posed(REPLACE(POSE, state=REPLACE(GRIP, closed=()))), "pose.state: a gripper that is closed cannot be"),
    ],
)
def test_what_no_end_effector_means(told: Manifest, words: str) -> None:
    assert words in impossible(told)


BIG = 1 << 14
SHORT = VectorSpec(("a",), ("rad",), 4)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"cameras": ()}, "spec.cameras: there is none"),
        ({"cameras": (CameraSpec("", 1, 1),)}, "spec.cameras[0].name: '' is empty or used twice"),
        (
            {"cameras": (CameraSpec("a", 1, 1), CameraSpec("a", 1, 1))},
            "spec.cameras[1].name: 'a' is empty or used twice",
        ),
        ({"cameras": (CameraSpec("a", 0, 640),)}, "spec.cameras[0]: 640×0 is not a size of a frame"),
        ({"cameras": (CameraSpec("a", 480, BIG + 1),)}, f"spec.cameras[0]: {BIG + 1}×480 is not a size of a frame"),
        ({"horizon": 0}, "spec.horizon: 0 is not a positive number"),
        ({"horizon": 10**6}, "spec.horizon: 1000000 is not a positive number"),
        ({"dt_s": -0.1}, "spec.dt_s: -0.1 is not a positive number"),
        ({"dt_s": math.nan}, "spec.dt_s: nan is not a positive number"),
        ({"dt_s": 1e-10}, "spec.dt_s: 1e-10 is shorter than any control period"),
        ({"prompt": PromptSpec("{instruction}", 0, 2, 0)}, "spec.prompt.max_tokens: 0 is not a positive number"),
        *(
            (
                {"prompt": PromptSpec(template, 8, 2, 0)},
                "spec.prompt.template: must have {instruction} once and {state} at most once",
            )
            for template in ("do it", "{instruction} {instruction}", "{state} {instruction} {state}")
        ),
        (
            {
                "prompt": PromptSpec("{instruction} {state}", 8, 2, 0),
                "state": NOTHING,
                "state_normalisation": NONE,
            },
            "spec.prompt.template: has {state}, and the policy reads none",
        ),
        ({"state": VectorSpec(("a", "b"), ("rad",), 4)}, "spec.state.units: 1 units for 2 names"),
        ({"state": VectorSpec(("a", "a"), ("rad", "rad"), 4)}, "spec.state.names: one is used twice"),
        ({"state": VectorSpec(("a", "b"), ("rad", "rad"), 1)}, "spec.state.names: 2 dimensions do not fit into 1"),
        ({"action": VectorSpec(("a", "b"), ("rad", "rad"), 1)}, "spec.action.names: 2 dimensions do not fit into 1"),
        ({"action": VectorSpec((), (), 4)}, "spec.action.names: 0 dimensions do not fit into 4"),
        *(({"relative": (flag,)}, "spec.relative: 1 flags for 2 actions and 2 states") for flag in (True, False)),
        (
            {"relative": (False, True), "state": SHORT, "state_normalisation": NONE},
            "spec.relative: 2 flags for 2 actions and 1 states",
        ),
    ],
)
def test_an_interface_that_cannot_be(spec: dict[str, Any], words: str) -> None:
    assert impossible(manifest(**spec)) == words


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (REPLACE(FLOW, steps=0), "spec.head.steps: 0 is not a positive number"),
        (REPLACE(FLOW, steps=10_000), "spec.head.steps: 10000 is not a positive number"),
        (REPLACE(FLOW, cache=()), "spec.head.cache: the step graph reads nothing of the prefix"),
        (REPLACE(FLOW, t_end=1.0), "spec.head: runs from 1.0 to 1.0"),
        (REPLACE(FLOW, t_end=math.inf), "spec.head: runs from 1.0 to inf"),
        (REPLACE(FLOW, t_start=math.nan), "spec.head: runs from nan to 0.0"),
        (TokenSpec(0, IntegerScheme(1)), "spec.head.max_new: 0 is not a positive number"),
        (TokenSpec(100_000, IntegerScheme(1)), "spec.head.max_new: 100000 is not a positive number"),
        (TokenSpec(5, BinScheme()), "spec.head.max_new: 5 tokens are not 3 actions of 2"),
        (TokenSpec(6, BinScheme(terminate=True)), "spec.head.max_new: 6 tokens are not 3 actions of 2"),
        (TokenSpec(40, REPLACE(FAST, scale=0.0)), "spec.head.scheme.scale: 0.0 is not a positive number"),
        (TokenSpec(40, REPLACE(FAST, scale=math.nan)), "spec.head.scheme.scale: nan is not a positive number"),
    ],
)
def test_a_head_that_cannot_be(head: Head, words: str) -> None:
    assert impossible(manifest(head=head)) == words


NUMBER, ZERO = "a number is not finite, or clip is negative", "divides by zero or less"


@pytest.mark.parametrize("name", ["state", "action"])
@pytest.mark.parametrize(
    ("normalisation", "words"),
    [
        (Normalisation("mean_std", (1.0,), (1.0,)), "1, 1 and 0 entries for 2 dimensions"),
        (Normalisation("min_max", (1.0, 2.0), (3.0,)), "2, 1 and 0 entries for 2 dimensions"),
        (Normalisation("none", (1.0,), (1.0,)), "1, 1 and 0 entries for 0 dimensions"),
        (Normalisation("none", mask=(True, True)), "0, 0 and 2 entries for 0 dimensions"),
        (REPLACE(TWO, mask=(True,)), "2, 2 and 1 entries for 2 dimensions"),
        (REPLACE(TWO, a=(1.0, math.nan)), NUMBER),
        (REPLACE(TWO, b=(1.0, math.inf)), NUMBER),
        (REPLACE(TWO, eps_in=math.nan), NUMBER),
        (REPLACE(TWO, eps_out=math.inf), NUMBER),
        (REPLACE(TWO, clip=math.nan), NUMBER),
        (REPLACE(TWO, clip=-1.0), NUMBER),
    ],
)
def test_a_normalisation_that_cannot_be(name: str, normalisation: Normalisation, words: str) -> None:
    field = f"{name}_normalisation"
    assert impossible(manifest(**{field: normalisation})) == f"spec.{field}: {words}"


@pytest.mark.parametrize(
    "normalisation",
    [
        REPLACE(TWO, b=(0.5, 0.0)),
        REPLACE(TWO, b=(0.5, -1.0)),
        REPLACE(TWO, b=(0.5, 0.0), mask=(False, True)),
        REPLACE(TWO, b=(0.5, 1e-3), eps_in=-1e-3),
        Normalisation("quantiles", (1.0, 2.0), (3.0, 2.0)),
        Normalisation("min_max", (1.0, 2.0), (3.0, 1.0), eps_in=1e-8),
    ],
    ids=repr,
)
def test_a_state_is_never_divided_by_nothing(normalisation: Normalisation) -> None:
    assert impossible(manifest(state_normalisation=normalisation)) == f"spec.state_normalisation: {ZERO}"


@pytest.mark.parametrize("head", HEADS, ids=repr)
def test_graphs_and_costs_are_those_of_the_head(head: Head) -> None:
    told, names = manifest(head=head), ", ".join(GRAPHS[type(head)])
    extra, last = {"other": "x"}, names.rpartition(", ")[2]
    assert (
        impossible(REPLACE(told, graphs=told.graphs | extra)) == f"graphs: has {names}, other; this head needs {names}"
    )
    fewer = {name: cost for name, cost in told.costs.items() if name != last}
    assert impossible(REPLACE(told, costs=fewer)) == f"costs: has {', '.join(fewer)}; this head needs {names}"


def with_guide(told: Manifest) -> Manifest:
    graphs, costs = {**told.graphs, GUIDE: "guide.onnx"}, {**told.costs, GUIDE: Cost(7, "float32", 28, 99)}
    return REPLACE(told, graphs=graphs, costs=costs)


@pytest.mark.parametrize("head", HEADS, ids=repr)
def test_a_flow_alone_may_have_a_guide(head: Head) -> None:
    told = with_guide(manifest(head=head))
    names = ", ".join(GRAPHS[type(head)])
    fault = f"graphs: has {names}, guide; this head needs {names}"
    assert impossible(told) == ("" if isinstance(head, FlowSpec) else fault)
    costs = REPLACE(told, costs=manifest(head=head).costs)
    assert impossible(costs) != ""


@pytest.mark.parametrize(("rows", "possible"), [(0, True), (2, True), (3, False), (-1, False)])
def test_a_chunk_of_three_has_an_open_action(rows: int, possible: bool) -> None:
    said = impossible(manifest(head=REPLACE(FLOW, committed=rows)))
    assert said == ("" if possible else f"spec.head.committed: {rows} of 3 actions; at least one must be open")


def test_committed_actions_are_written_where_there_are_any() -> None:
    """So that every other bundle is what it was, and older runtimes read it."""
    plain, trained = (msgspec.json.encode(REPLACE(FLOW, committed=rows)) for rows in (0, 2))
    cache = '["keys","values","prefix_mask"]'
    assert plain.decode() == (f'{{"kind":"flow","steps":4,"t_start":1.0,"t_end":0.0,"cache":{cache},"noise":"normal"}}')
    assert trained == plain[:-1] + b',"committed":2}'
    assert msgspec.json.decode(plain, type=FlowSpec) == FLOW


def test_a_bundle_that_did_not_pass_is_none() -> None:
    failed = REPLACE(manifest(), verdict="fail")
    assert impossible(failed) == "verdict: it did not pass its accuracy gate; make it again"


def test_the_first_of_many_faults_is_the_one_that_is_said() -> None:
    broken = REPLACE(manifest(cameras=(), horizon=0, dt_s=0.0), graphs={}, costs={})
    assert impossible(broken) == "graphs: has ; this head needs image, prefix, step"


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("parts", {"backbone": "int8", "vision": "fp12"}, "quantization.parts.vision: 'fp12' is not one of fp32, bf16"),
        ("floats", {"vision": "bfloat16"}, "quantization.floats.vision: 'bfloat16' is not one of fp32, bf16, fp16"),
    ],
)
def test_a_precision_that_there_is_not(field: str, value: object, told: str) -> None:
    good = Quantization(
        target="cpu",
        origin="a" * 64,
        parts={"backbone": "int8"},
        floats={"backbone": "fp32"},
        ranges="smooth",
        block=128,
        kept=0,
        table="layers.json",
    )
    assert impossible(REPLACE(manifest(), quantization=good)) == ""
    assert impossible(REPLACE(manifest(), quantization=REPLACE(good, **{field: value}))).startswith(told)
