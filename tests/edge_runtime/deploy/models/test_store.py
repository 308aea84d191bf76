"""The bundles of a robot: which one runs, which one comes back, and what the power going in between makes of them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from edge_runtime.bundle import open_bundle
from edge_runtime.deploy.models import trial
from edge_runtime.deploy.models.room import prune
from edge_runtime.deploy.models.store import SIGNATURE, SPENT, Store
from edge_runtime.errors import BundleError
from tests.edge_runtime import tiny_bundle
from tests.edge_runtime.deploy.models import power


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three bundles that differ."""
    folder = tmp_path_factory.mktemp("made")
    return [tiny_bundle.write(folder / str(n), dt_s=0.01 * (n + 1)) for n in range(3)]


@pytest.fixture(autouse=True)
def _no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here looks behind the file system's back but `power`, which counts what was asked for."""
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)


def name_of(bundle: Path) -> str:
    return open_bundle(bundle).manifest.seal[:12]


def receive(store: Store, bundle: Path) -> str:
    """`bundle` in the store, as one that was received."""
    incoming = store.incoming(name_of(bundle))
    shutil.rmtree(incoming, ignore_errors=True)
    shutil.copytree(bundle, incoming)
    return store.place(incoming)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "bundles")


@pytest.fixture
def abc(store: Store, made: list[Path]) -> tuple[str, ...]:
    """Names of three bundles in the store; the first one runs and has proved itself."""
    names = tuple(receive(store, bundle) for bundle in made)
    store.switch(names[0])
    proved(store)
    return names


def proved(store: Store) -> None:
    """A service that starts and lasts."""
    service = Store(store.folder)
    service.begin()
    service.confirm()


def spared(store: Store) -> None:
    """A service that starts, and is asked to end before it has proved itself."""
    service = Store(store.folder)
    service.begin()
    service.spare()


def begun(store: Store) -> str:
    """A service that starts, and that is all of it."""
    return Store(store.folder).begin().name


def test_without_a_bundle_the_service_says_what_to_do(store: Store) -> None:
    assert store.current is None
    with pytest.raises(BundleError, match="no bundle on this robot yet: edge deploy"):
        store.begin()


def test_a_folder_is_named_by_the_seal_and_the_link_leads_to_it(store: Store, made: list[Path]) -> None:
    name = receive(store, made[0])
    assert open_bundle(made[0]).manifest.seal.startswith(name)
    assert len(name) == 12
    store.switch(name)
    assert store.current == (store.folder / name).resolve() == (store.folder / "current").resolve()
    assert {p.name for p in store.folder.iterdir()} == {".lock", "record.json", name, "current"}


def test_the_factory_bundle_is_adopted_once(
    store: Store, made: list[Path], abc: tuple[str, ...], tmp_path: Path
) -> None:
    fresh = Store(tmp_path / "fresh")
    fresh.adopt(tmp_path / "none")
    assert fresh.current is None
    fresh.adopt(made[1])
    assert fresh.current is not None
    assert open_bundle(fresh.current).manifest.seal.startswith(abc[1])
    fresh.adopt(made[2])
    assert fresh.current_name == abc[1]
    assert fresh.record.trial is None, "what came in the package has nothing to go back to"


def test_a_bundle_that_proves_itself_stays_and_the_one_before_is_kept(store: Store, abc: tuple[str, ...]) -> None:
    a, b, _ = abc
    store.switch(b)
    assert store.record.trial == trial.Trial(b)
    proved(store)
    assert begun(store) == begun(store) == b
    assert store.record == trial.Record(previous=a)


def test_a_bundle_that_does_not_prove_itself_comes_back_at_the_second_start(store: Store, abc: tuple[str, ...]) -> None:
    a, b, _ = abc
    store.switch(b)
    assert begun(store) == b
    second = Store(store.folder)
    assert second.begin().name == a
    assert second.note == f"back to the previous bundle {a}: {b}: {SPENT}"
    assert store.record.failed == {b: SPENT}
    assert store.record.trial is None
    assert begun(store) == a


def test_a_try_that_was_asked_to_end_is_given_back(store: Store, abc: tuple[str, ...]) -> None:
    a, b, _ = abc
    store.switch(b)
    for _ in range(3):
        spared(store)
    assert store.record == trial.Record(a, trial.Trial(b))
    service = Store(store.folder)
    assert service.begin().name == b
    service.blame("too slow")
    service.spare()
    assert begun(store) == a, "what has failed is not tried again"


def test_the_packages_bundle_takes_the_place_of_one_that_nobody_vouches_for(
    store: Store, made: list[Path], abc: tuple[str, ...], tmp_path: Path
) -> None:
    a, b, c = abc
    store.switch(b)
    proved(store)
    store.switch(c)
    store.begin()
    store.insist(made[0], "it is not signed")
    assert begun(store) == begun(store) == a
    assert store.record == trial.Record(a, None, {c: "it is not signed"})
    store.switch(b)
    proved(store)
    store.insist(made[0], "nor is this")
    assert store.record.failed[b] == "nor is this"
    assert begun(store) == a


def test_what_the_service_said_of_its_failure_is_kept(store: Store, abc: tuple[str, ...]) -> None:
    service = Store(store.folder)
    store.switch(abc[1])
    service.begin()
    service.blame("self-test: 3 % off\nand more")
    assert begun(store) == abc[0]
    assert store.record.failed == {abc[1]: "self-test: 3 % off and more"}
    service.blame("too late")
    assert store.record.failed == {abc[1]: "self-test: 3 % off and more"}


def test_the_previous_of_a_trial_is_what_proved_itself_last(store: Store, abc: tuple[str, ...]) -> None:
    """A second deployment before the first was tried: what was never tried is nothing to go back to."""
    a, b, c = abc
    store.switch(b)
    store.switch(c)
    assert begun(store) == c
    assert begun(store) == a


def test_a_confirmation_is_for_what_began_and_not_for_what_came_since(store: Store, abc: tuple[str, ...]) -> None:
    _, b, c = abc
    store.switch(b)
    service = Store(store.folder)
    service.begin()
    store.switch(c)
    service.confirm()
    assert store.record.trial == trial.Trial(c)


def test_a_first_bundle_has_nothing_to_go_back_to_and_is_tried_again(store: Store, made: list[Path]) -> None:
    name = receive(store, made[0])
    store.switch(name)
    assert begun(store) == name
    again = Store(store.folder)
    assert again.begin().name == name
    assert "none to go back to" in again.note
    again.confirm()
    assert store.record == trial.Record()


def test_a_person_goes_back(store: Store, abc: tuple[str, ...]) -> None:
    a, b, _ = abc
    with pytest.raises(BundleError, match="no previous bundle"):
        store.back()
    store.switch(b)
    assert store.back() == a, "from one on trial at once"
    assert store.record.failed == {b: "a person went back"}
    assert store.record.trial is None
    store.switch(b)
    proved(store)
    assert store.back() == a, "from one that had proved itself: by a trial as any"
    assert store.record.trial == trial.Trial(a, before=a)
    assert store.record.previous == b


def test_to_deploy_the_good_one_while_another_is_on_trial_is_to_go_back(store: Store, abc: tuple[str, ...]) -> None:
    a, b, _ = abc
    store.switch(b)
    store.switch(a)
    assert store.current_name == a
    assert store.record.trial is None
    assert b in store.record.failed


def test_to_deploy_what_runs_changes_nothing(store: Store, abc: tuple[str, ...]) -> None:
    before = store.record
    store.switch(abc[0])
    assert store.record == before
    with pytest.raises(BundleError, match="has no bundle 0123456789ab"):
        store.switch("0123456789ab")


def test_a_current_bundle_that_was_deleted_gives_way_to_the_previous(store: Store, abc: tuple[str, ...]) -> None:
    a, b, _ = abc
    store.switch(b)
    proved(store)
    shutil.rmtree(store.folder / b)
    service = Store(store.folder)
    assert service.begin().name == a
    assert "not there any more" in service.note


def test_a_damaged_record_is_no_reason_not_to_start_and_is_kept(store: Store, abc: tuple[str, ...]) -> None:
    (store.folder / "record.json").write_bytes(b"\xff{")
    service = Store(store.folder)
    assert service.begin().name == abc[0]
    assert service.note.startswith(f"{store.folder}/record.json.unreadable: which bundle was before, and on trial, is")
    assert (store.folder / "record.json.unreadable").read_bytes() == b"\xff{"
    (store.folder / "record.json").write_bytes(b"\xff{2")
    store.refuse(abc[1], "it does not fit")
    assert (store.folder / "record.json.unreadable").read_bytes() == b"\xff{2", "not written over"


def test_what_a_newer_version_wrote_is_read_by_one_that_came_back(store: Store, abc: tuple[str, ...]) -> None:
    store.switch(abc[1])
    record = json.loads((store.folder / "record.json").read_text())
    record["trial"]["hours"] = record["since"] = 3
    (store.folder / "record.json").write_text(json.dumps(record))
    assert begun(store) == abc[1]
    assert begun(store) == abc[0]


def test_only_what_may_be_needed_is_kept(store: Store, abc: tuple[str, ...]) -> None:
    a, b, c = abc
    for name in ("readme", "deadbeef"):
        (store.folder / name).mkdir()
    for name in abc:
        (store.folder / f"{name}{SIGNATURE}").write_bytes(b"s")
    shutil.copytree(store.folder / c, store.incoming("0" * 12))
    store.switch(b)
    proved(store)
    store.switch(c)
    prune(store)
    assert set(store.names) == {a, b, c}, "on trial: what runs, what comes back, and what that had"
    proved(store)
    prune(store)
    assert set(store.names) == {b, c}
    left = {p.name for p in store.folder.iterdir()}
    assert left == {"current", "record.json", ".lock", "readme", "deadbeef", b, c, f"{b}.p7s", f"{c}.p7s"}


def test_a_full_disk_is_said_before_anything_is_copied(
    store: Store, made: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")._replace(free=5 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(BundleError, match="5 MiB of its disk are free, 1024 MiB are needed"):
        store.adopt(made[0])
    assert store.names == []


Step = Callable[[Store, list[Path]], Any]
STEPS: dict[str, Step] = {
    **{f"receive {n}": lambda store, made, n=n: receive(store, made[n]) for n in range(3)},
    **{f"switch {n}": lambda store, made, n=n: store.switch(name_of(made[n])) for n in range(3)},
    "start": lambda store, _: store.begin(),
    "proved": lambda store, _: proved(store),
    "back": lambda store, _: store.back(),
    "prune": lambda store, _: prune(store),
    "spared": lambda store, _: spared(store),
    "insist": lambda store, made: store.insist(made[0], "it is not signed"),
    "adopt": lambda store, made: store.adopt(made[0]),
}


def _at_each_cut(
    step: str, store: Store, made: list[Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Store, bool]]:
    """The store after `step` with the power gone before its first operation, its second, …; whether it was."""
    for after in range(200):
        copy = Store(store.folder.with_name(f"cut-{after}"))
        shutil.copytree(store.folder, copy.folder, symlinks=True)
        there = power.inodes(copy.folder)
        with power.disk(copy.folder, monkeypatch) as disk:
            disk.after, disk.armed = after, True
            with suppress(power.Cut, BundleError):  # the second: there is none to go back to
                STEPS[step](Store(copy.folder), made)
            disk.armed = False
        power.lose(disk, there)
        yield copy, disk.gone
        shutil.rmtree(copy.folder)
        if not disk.gone:
            return
    raise AssertionError(f"{step} has more than 200 operations")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(steps=[], last="adopt")
@example(steps=["receive 1"], last="switch 1")
@example(steps=["receive 1"], last="receive 1")
@example(steps=["receive 1", "switch 1"], last="start")
@example(steps=["receive 1", "switch 1", "start"], last="start")
@example(steps=["receive 1", "switch 1"], last="back")
@example(steps=["receive 1", "switch 1"], last="spared")
@example(steps=["receive 1", "switch 1", "start"], last="insist")
@example(steps=["receive 1", "switch 1"], last="proved")
@example(steps=["receive 1", "receive 2", "switch 1", "proved", "switch 2", "proved"], last="prune")
@given(steps=st.lists(st.sampled_from(sorted(STEPS)), max_size=8), last=st.sampled_from(sorted(STEPS)))
def test_whenever_the_power_goes_what_starts_is_whole_and_what_stays_has_proved_itself(
    steps: list[str],
    last: str,
    made: list[Path],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Store(tmp_path_factory.mktemp("cut") / "bundles")
    good = {name_of(made[0])}
    if steps:
        store.adopt(made[0])
    for step in steps:
        with suppress(BundleError):
            STEPS[step](Store(store.folder), made)
        good |= {store.current_name} if step == "proved" else set()
    store.folder.mkdir(exist_ok=True)
    for cut, gone in _at_each_cut(last, store, made, monkeypatch):
        proven = good | ({cut.current_name} if last == "proved" else set())
        assert all(open_bundle(cut.folder / name) for name in cut.names)
        if last == "adopt" or not steps:
            Store(cut.folder).adopt(made[0])  # as at every start
        for _ in range(3):  # starts that do not last: what is on trial has its try and no other
            started = Store(cut.folder).begin()
            assert open_bundle(started).manifest.seal.startswith(started.name)
        assert started.name in proven, (steps, last, gone)
        prune(cut)
        assert not [p for p in cut.folder.iterdir() if p.name.startswith((".gone", ".incoming"))]
