"""RAUC's boot backend for Jetson, against a Jetson that is none: nothing here has run on hardware."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from edge_runtime.deploy.places import under
from edge_runtime.deploy.update import rauc
from edge_runtime.deploy.update.layout import SYSTEM_CONFIG
from tests.edge_runtime.deploy.update import jetson, real_rauc
from tests.edge_runtime.deploy.update.jetson import NORMAL, TRIES, UNBOOTABLE, Jetson


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Jetson:
    return jetson.jetson(tmp_path, monkeypatch)


@pytest.mark.parametrize("slot", ["A", "B"])
def test_it_says_which_slot_runs_and_which_is_next(slot: str, board: Jetson) -> None:
    board.change(current="AB".index(slot), active=1 - "AB".index(slot))
    assert board.says("get-current") == slot
    assert board.says("get-primary") == ("B" if slot == "A" else "A")


def test_one_that_the_firmware_would_pass_over_is_not_next(board: Jetson) -> None:
    board.change(active=1)
    board.variable("RootfsStatusSlotB").write_bytes(UNBOOTABLE)
    assert board.says("get-primary") == "A"
    board.variable("RootfsStatusSlotA").write_bytes(UNBOOTABLE)
    assert board.says("get-primary") == "B"


def test_a_slot_is_good_or_bad(board: Jetson) -> None:
    board.variable("RootfsStatusSlotB").write_bytes(UNBOOTABLE)
    assert [board.says("get-state", slot) for slot in "AB"] == ["good", "bad"]


def test_good_for_the_slot_that_runs_gives_it_its_tries_back(board: Jetson) -> None:
    board.change(tries=[1, TRIES])
    board.says("set-state", "A", "good")
    assert board.facts()["tries"] == [TRIES, TRIES]
    assert "verify" in board.facts()["calls"]


def test_good_for_the_other_slot_confirms_nothing_of_the_one_that_runs(board: Jetson) -> None:
    board.change(tries=[1, TRIES])
    board.variable("RootfsStatusSlotB").write_bytes(UNBOOTABLE)
    board.says("set-state", "B", "good")
    assert board.variable("RootfsStatusSlotB").read_bytes() == NORMAL
    assert board.facts()["tries"] == [1, TRIES]


def test_bad_for_the_slot_that_runs_makes_the_other_one_next(board: Jetson) -> None:
    board.change(current=1, active=1)
    board.says("set-state", "B", "bad")
    assert board.variable("RootfsStatusSlotB").read_bytes() == UNBOOTABLE
    assert board.says("get-primary") == "A"
    assert board.start() == "A"


def test_the_last_good_slot_stays_next_whatever_it_is_called(board: Jetson) -> None:
    board.says("set-state", "B", "bad")
    board.says("set-state", "A", "bad")
    assert board.facts()["active"] == 0


def test_what_is_left_of_an_earlier_switch_is_taken_away(board: Jetson) -> None:
    board.variable("BootChainFwStatus").write_bytes(NORMAL)
    board.says("set-primary", "B")
    assert not board.variable("BootChainFwStatus").exists()
    assert board.start() == "B"


def test_a_firmware_that_does_not_obey_is_found_out(board: Jetson) -> None:
    """Without ROOTFS_AB=1 at flashing, nvbootctrl ends well and changes nothing."""
    board.change(obeys=False)
    done = board.call("set-primary", "B")
    assert done.returncode == 1
    assert done.stderr == "nvboot: slot B: nvbootctrl did not make it the next one: flashed with ROOTFS_AB=1?\n"


UNKNOWN = ("", "what", "set-primary", "set-primary C", "set-state A", "set-state A fine", "get-state", "get-state APP")


@pytest.mark.parametrize("words", [tuple(words.split()) for words in UNKNOWN], ids=" ".join)
def test_what_it_does_not_know_changes_nothing(words: tuple[str, ...], board: Jetson) -> None:
    before = {path: path.read_bytes() for path in board.variables.iterdir()}
    done = board.call(*words)
    assert done.returncode == 1
    assert done.stderr.startswith("nvboot: ")
    assert done.stdout == ""
    assert {path: path.read_bytes() for path in board.variables.iterdir()} == before
    assert board.facts()["active"] == 0


@pytest.mark.parametrize("words", [("get-current",), ("get-primary",), ("get-state", "A"), ("set-primary", "B")])
def test_a_jetson_with_one_system_is_told_so(words: tuple[str, ...], board: Jetson) -> None:
    board.change(redundant=False)
    done = board.call(*words)
    assert done.returncode != 0
    assert board.variable("RootfsStatusSlotB").read_bytes() == NORMAL


def test_an_update_that_proves_itself(board: Jetson) -> None:
    """As RAUC goes about it: bad before the first block, primary after the last, good when it has proved itself."""
    board.says("set-state", "B", "bad")
    assert board.start() == "A"
    board.says("set-state", "A", "good")
    board.says("set-primary", "B")
    assert board.says("get-primary") == "B"
    assert board.start() == "B"
    board.says("set-state", "B", "good")
    for _ in range(TRIES + 1):
        assert board.start() == "B"
        board.says("set-state", "B", "good")


def test_an_update_that_never_comes_up(board: Jetson) -> None:
    board.says("set-primary", "B")
    assert [board.start() for _ in range(TRIES + 1)] == ["B"] * TRIES + ["A"]
    assert board.says("get-state", "B") == "bad"


def test_rauc_itself_works_with_it(board: Jetson, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["[system]", "compatible=edge-runtime jetpack6-orin", "bootloader=custom", "statusfile=per-slot"]
    lines += ["[handlers]", f"bootloader-custom-backend={board.backend}"]
    for number, name in enumerate("AB"):
        (tmp_path / name).touch()
        lines += [f"[slot.rootfs.{number}]", f"device={tmp_path / name}", "type=ext4", f"bootname={name}"]
    conf = under(tmp_path, SYSTEM_CONFIG)
    conf.parent.mkdir(parents=True)
    conf.write_text("\n".join(lines))
    board.change(current=1, active=1)
    with real_rauc.service(conf, "B", monkeypatch):
        said = rauc.status(tmp_path)
        assert (said.primary, said.booted.bootname, said.booted.good, said.other.good) == ("B", "B", True, True)
        rauc.mark("good")
        assert "verify" in board.facts()["calls"]
        rauc.mark("bad")
        said = rauc.status(tmp_path)
        assert (said.primary, said.booted.good, said.other.good) == ("A", False, True)
        subprocess.run(["rauc", "status", "mark-active", "booted"], capture_output=True, check=True)
        assert rauc.status(tmp_path).primary == "B"
