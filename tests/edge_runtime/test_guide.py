"""The person at a terminal: what counts as an answer, and what does not."""

from __future__ import annotations

import os
import pty
from collections.abc import Iterator
from typing import Any

import click
import pytest

from calibration.person import Table
from edge_runtime.commands.guide import Terminal
from edge_runtime.errors import EdgeError

TABLE = Table("arm", ("joint", "encoder"), [("elbow", "2048")])


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Where keys are pressed: the other end of a terminal that is standard input."""
    master, slave = pty.openpty()
    with os.fdopen(slave, "r") as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        yield master
    os.close(master)


def test_an_enter_from_before_the_question_is_no_answer(keys: int) -> None:
    looks = 0

    def show() -> Any:
        nonlocal looks
        looks += 1
        if looks == 3:
            os.write(keys, b"\n")
        return TABLE

    os.write(keys, b"\n")
    Terminal().wait("hold it", show)
    assert looks >= 3


def test_it_ends_by_itself_when_all_is_done(keys: int) -> None:
    looks = []
    Terminal().wait("show it", lambda: looks.append(1) or TABLE, lambda: len(looks) == 4)
    assert len(looks) == 4


@pytest.mark.parametrize(("typed", "agreed"), [("y", True), ("yes", True), ("Y", True), ("", False), ("n", False)])
def test_only_yes_is_agreement(monkeypatch: pytest.MonkeyPatch, typed: str, agreed: bool) -> None:
    read, write = os.pipe()
    os.write(write, f"{typed}\n".encode())
    with os.fdopen(read) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        if agreed:
            Terminal().agree("torque goes on")
        else:
            with pytest.raises(EdgeError, match="not agreed to"):
                Terminal().agree("torque goes on")
    os.close(write)


def test_an_input_that_ends_is_a_person_who_left(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull) as nothing:  # noqa: PTH123
        monkeypatch.setattr("sys.stdin", nothing)
        with pytest.raises(click.Abort):
            Terminal().agree("torque goes on")
        with pytest.raises(click.Abort):
            Terminal().wait("hold it", lambda: TABLE)
        Terminal(agreed=True).agree("torque goes on")
