"""The store: an engine is found where every part of its key is the same, whole, and however a build was killed."""

from __future__ import annotations

import errno
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge_runtime.engines.key import BuildOptions, EngineKey, Place, l4t_release
from edge_runtime.engines.store import EngineInfo, Layers, Staged, Store
from edge_runtime.errors import BackendError

PLACE = Place("trt", "10.3.0", "sm87", "Orin", "36.4.3")
KEY = EngineKey(PLACE, "a" * 64, "prefix", BuildOptions())
STEP = msgspec.structs.replace(KEY, graph="step")


def put(
    store: Store, key: EngineKey = KEY, content: bytes = b"engine one", held: bool = False, **more: Any
) -> EngineInfo:
    return store.keep(store.stage(key, content, seconds=1.25, **more), held=held)


def content(store: Store, key: EngineKey = KEY) -> bytes | None:
    info = store.find(key).info
    return None if info is None else store.path(info).read_bytes()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path)
    with made.building():
        pass
    return made


def files(store: Store) -> list[str]:
    return sorted(path.name for path in store.folder.iterdir() if path.name != ".lock")


def test_what_is_put_is_found_with_all_that_was_said_of_it(store: Store) -> None:
    layers = Layers(unfused=("a line",), layers=({"Name": "x"},))
    info = put(store, warnings=("careful",), layers=layers)
    assert store.find(KEY).info == info
    assert content(store) == b"engine one"
    assert (info.key, info.size, info.seconds, info.warnings, info.layers) == (KEY, 10, 1.25, ("careful",), layers)
    assert not info.held
    assert info.file.startswith("prefix-trt-10.3.0-sm87-")
    assert files(store) == [info.file, info.file.replace(".engine", ".json")]


OTHERS = [
    (msgspec.structs.replace(KEY, bundle="b" * 64), "its bundle is bbbbbbbbbbbbbbbb, not aaaaaaaaaaaaaaaa"),
    *(
        (msgspec.structs.replace(KEY, place=msgspec.structs.replace(PLACE, **{name: other})), f"its {name} is {said}")
        for name, other, said in (
            ("version", "10.7.0", "10.7.0, not 10.3.0"),
            ("device", "Orin NX", "Orin NX, not Orin"),
            ("l4t", "", "unknown, not 36.4.3"),
        )
    ),
    *(
        (msgspec.structs.replace(KEY, options=BuildOptions(**{name: 1})), f"its {name} is 1, not {default}")
        for name, default in (("workspace_mib", 0), ("memory_limit_mib", 0), ("optimisation_level", 3))
    ),
]


@pytest.mark.parametrize(("other", "words"), OTHERS, ids=lambda x: x if isinstance(x, str) else "")
def test_an_engine_of_another_key_is_named_and_not_found(store: Store, other: EngineKey, words: str) -> None:
    path = store.path(put(store, other))
    found = store.find(KEY)
    assert found.info is None
    assert found.why.startswith(f"{path}: not loaded: {words}")
    assert other.stem("d") != KEY.stem("d")


@pytest.mark.parametrize("name", ["graph", "backend", "arch"])
def test_engines_of_other_graphs_backends_and_architectures_stay_out_of_it(store: Store, name: str) -> None:
    value = {"graph": "step", "backend": "trt_rtx", "arch": "sm86"}[name]
    changed = {"graph": value} if name == "graph" else {"place": msgspec.structs.replace(PLACE, **{name: value})}
    other = msgspec.structs.replace(KEY, **changed)
    put(store, other, b"other")
    assert (store.find(KEY).info, store.find(KEY).why) == (None, "")
    put(store)
    assert (content(store), content(store, other)) == (b"engine one", b"other")


def test_options_do_not_count_for_who_only_wants_to_run_it(store: Store) -> None:
    put(store, msgspec.structs.replace(KEY, options=BuildOptions(optimisation_level=5)))
    assert store.find(KEY).info is None
    assert store.find(KEY, any_options=True).info is not None


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def change(path: Path) -> None:
    path.write_bytes(b"ENGINE one")


def borrow(path: Path) -> None:
    sidecar = path.with_suffix(".json")
    sidecar.rename(sidecar.with_name("prefix-trt-10.3.0-sm87-0000000000000000.json"))


def scribble(path: Path) -> None:
    path.with_suffix(".json").write_text("{}")


def forge(path: Path) -> None:
    """A sidecar that leads out of the store."""
    sidecar = path.with_suffix(".json")
    sidecar.write_text(sidecar.read_text().replace(path.name, f"../{path.name}"))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (cut, "it has 9 bytes, and had 10 when it was built"),
        (change, "its sha256 is not what it was when it was built"),
        (Path.unlink, "it is not there"),
        (borrow, "its sidecar is another engine's"),
        (forge, "its sidecar is another engine's"),
        (scribble, "its sidecar is damaged"),
        (lambda path: path.with_suffix(".json").unlink(), "nothing beside it says what it was built from"),
    ],
)
def test_a_damaged_engine_is_named_and_replaced(store: Store, harm: Callable[[Path], None], words: str) -> None:
    harm(store.path(put(store)))
    found = store.find(KEY)
    assert found.info is None
    assert ".engine: not loaded: " in found.why
    assert words in found.why
    info = put(store, content=b"engine two")
    assert content(store) == b"engine two"
    assert files(store) == [info.file, info.file.replace(".engine", ".json")]


def test_a_new_engine_takes_the_place_of_the_old_one(store: Store) -> None:
    old = put(store)
    new = put(store, content=b"engine two")
    assert old.file != new.file
    assert content(store) == b"engine two"
    assert len(files(store)) == 2
    assert put(store, content=b"engine two").file == new.file


def test_what_is_staged_does_not_count_until_it_is_kept(store: Store) -> None:
    put(store)
    with store.building():
        staged = store.stage(KEY, b"engine two", seconds=1.0)
        assert staged.path.read_bytes() == b"engine two"
        assert content(store) == b"engine one"
        store.keep(staged, held=False)
        assert content(store) == b"engine two"
    assert len(files(store)) == 2


def test_what_is_staged_and_not_kept_goes(store: Store) -> None:
    put(store)

    def refused() -> None:
        with store.building():
            for key in (KEY, STEP):
                store.stage(key, b"engine two", seconds=1.0)
            raise BackendError("the gate")

    with pytest.raises(BackendError, match="the gate"):
        refused()
    assert content(store) == b"engine one"
    assert len(files(store)) == 2


def test_that_it_was_held_to_the_gate_is_said_then_or_later(store: Store) -> None:
    assert put(store, held=True).held
    info = put(store, content=b"engine two")
    assert not info.held
    store.keep(Staged(info, store.path(info)), held=True)
    found = store.find(KEY).info
    assert found == msgspec.structs.replace(info, held=True)
    assert content(store) == b"engine two"
    assert len(files(store)) == 2


def test_a_full_disk_is_said_of_the_engine(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    put(store)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)) as caught, store.building():
        store.stage(KEY, b"engine two", seconds=1.0)
    assert caught.value.filename.startswith(str(store.folder / "prefix-trt-"))
    assert content(store) == b"engine one"
    assert len(files(store)) == 2


def test_half_written_timings_of_a_killed_build_go(store: Store) -> None:
    kept = "timing-trt-10.3.0-sm87.cache"
    for name in (kept, f".{kept}.4711"):
        (store.folder / name).touch()
    with store.building():
        assert files(store) == [kept]


def test_one_build_at_a_time(store: Store) -> None:
    with store.building():
        with pytest.raises(BackendError, match="another edge compile is building") as caught, store.building():
            pass
        assert "\n" not in str(caught.value)
    with store.building():
        pass


def killed(work: Callable[[], None], after: float | None = None) -> bool:
    """Run `work` in a child process that kills itself, or is killed `after` seconds. Whether it was killed."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    if after is not None:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_killed_at_any_step_the_old_engine_or_the_new_one_is_found_of_each_graph(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kill -9 before each call that changes the disk, one after another, until a build gets through."""
    graphs, seen = (KEY, STEP), set()

    def rebuild(content: bytes) -> None:
        with store.building():
            for staged in [store.stage(key, content, seconds=1.0) for key in graphs]:
                store.keep(staged, held=True)

    for steps in range(80):
        for path in store.folder.iterdir():
            path.unlink()
        rebuild(b"engine one")
        calls = iter(range(80))

        def dying(real: Callable[..., Any], calls: Any = calls, steps: int = steps) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                if next(calls) == steps:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*args, **kwargs)

            return call

        def work(dying: Any = dying) -> None:
            for owner, name in ((os, "fsync"), (Path, "replace"), (Path, "unlink"), (Path, "open")):
                monkeypatch.setattr(owner, name, dying(getattr(owner, name)))
            rebuild(b"engine two")

        died = killed(work)
        found = tuple(content(store, key) for key in graphs)
        assert set(found) <= {b"engine one", b"engine two"}
        seen.add(found)
        rebuild(b"engine three")
        assert [content(store, key) for key in graphs] == [b"engine three"] * 2
        assert len(files(store)) == 4
        if not died:
            break
    else:
        pytest.fail("a build never got through")
    assert steps > 16
    assert seen == {(b"engine one",) * 2, (b"engine two", b"engine one"), (b"engine two",) * 2}


def test_killed_at_any_moment(store: Store) -> None:
    put(store, content=b"0" * 5000)
    chance = random.Random(5)

    def work() -> None:
        for i in range(100_000):
            with store.building():
                put(store, content=b"%d" % (i % 10) * 5000)

    for _ in range(8):
        assert killed(work, after=chance.uniform(0.0, 0.05))
        found = content(store)
        assert found is not None
        assert len(found) == 5000
        assert len(set(found)) == 1


def test_the_release_of_a_jetson(tmp_path: Path) -> None:
    release = tmp_path / "nv_tegra_release"
    assert l4t_release(release) == ""
    release.write_text("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed\n")
    assert l4t_release(release) == "36.4.3"
    release.write_text("# something else\n")
    assert l4t_release(release) == "# something else"
