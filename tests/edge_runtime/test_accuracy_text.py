"""What a person reads of errors: each share beside the gate that it was held to."""

from __future__ import annotations

import math

import msgspec
import pytest

from edge_runtime.accuracy import FLOAT32_GATE, QUANTIZED_GATE, ActionErrors, Gate
from edge_runtime.accuracy_text import actions, percent
from tests.edge_runtime import tiny_bundle

ERRORS = ActionErrors(
    *(60, "rad", 0.0123, 0.05, 0.2, 0.0042, 0.03, 0.12, "elbow", {"elbow": 0.12}, None, QUANTIZED_GATE, "pass")
)


def test_errors_in_units_and_as_shares() -> None:
    assert actions(ERRORS) == [
        "actions of 60 observations: mean 0.012, 99 % 0.05, largest 0.2 rad",
        "of each range: mean 0.42% (at most 1.00%), 99 % 3.00% (at most 5.00%), largest 12.00% (elbow)",
    ]


def test_only_what_is_held_to_a_gate_has_one() -> None:
    told = actions(msgspec.structs.replace(tiny_bundle.ACTIONS, unit="", gate=FLOAT32_GATE))
    assert told[0].endswith("the robot's units")
    assert told[1] == "of each range: mean 2.0e-06%, 99 % 2.0e-05%, largest 4.0e-04% (at most 0.01%) (b)"


@pytest.mark.parametrize(
    ("gate", "words"),
    [
        (QUANTIZED_GATE, "tokens: 87.5% identical (at least 90%)"),
        (Gate(tokens_same=0.995), "tokens: 87.5% identical (at least 99.5%)"),
        (Gate(), "tokens: 87.5% identical"),
    ],
)
def test_tokens(gate: Gate, words: str) -> None:
    assert actions(msgspec.structs.replace(ERRORS, tokens_same=0.875, gate=gate))[-1] == words


def test_a_fault_that_no_figure_shows_is_said() -> None:
    assert actions(msgspec.structs.replace(ERRORS, fault="it flickers"))[-1] == "it flickers"


@pytest.mark.parametrize(
    ("share", "words"),
    [(0.0, "0.00%"), (1e-4, "0.01%"), (9.9e-5, "9.9e-03%"), (1e-9, "1.0e-07%"), (1.5, "150.00%"), (math.inf, "inf%")],
)
def test_shares(share: float, words: str) -> None:
    assert percent(share) == words
