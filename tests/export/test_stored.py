"""Checkpoint files: what is read back is what was written, and every way of being broken is one line."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from export.errors import CheckpointError
from export.stored import Stored, merged, open_pt, open_safetensors, open_sharded

KINDS = (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int8, torch.uint8, torch.bool)
EVERY_KIND = {str(kind): torch.arange(6).reshape(2, 3).to(kind) for kind in KINDS}
SHAPES = {"scalar": torch.tensor(3.5), "empty": torch.zeros(0, 4), "a.weight": torch.randn(5, 3)}
TENSORS = EVERY_KIND | SHAPES


def same(stored: Stored, wanted: dict[str, Tensor]) -> None:
    assert stored.names == wanted.keys()
    for name, tensor in wanted.items():
        found = stored.tensor(name)
        assert stored.shape(name) == tuple(tensor.shape)
        assert found.dtype == tensor.dtype
        assert found.is_contiguous()
        assert torch.equal(found, tensor), name


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_file(TENSORS, tmp_path / "model.safetensors", metadata={"format": "pt"})
    return tmp_path / "model.safetensors"


def test_safetensors(file: Path) -> None:
    stored = open_safetensors(file)
    same(stored, TENSORS)
    assert stored.files == (file,)
    assert stored.where("scalar") == file
    assert str(stored) == str(file)
    assert stored.sha256() == hashlib.sha256(file.read_bytes()).hexdigest()


def test_what_was_read_belongs_to_the_reader(file: Path) -> None:
    stored = open_safetensors(file)
    stored.tensor("a.weight").zero_()
    assert torch.equal(stored.tensor("a.weight"), SHAPES["a.weight"])


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no /proc")
@pytest.mark.parametrize("form", ["safetensors", "pt"])
def test_nothing_of_a_file_stays_mapped_or_open(file: Path, form: str) -> None:
    if form == "pt":
        file = file.with_suffix(".pt")
        torch.save(TENSORS, file)
    stored = open_pt(file) if form == "pt" else open_safetensors(file)
    kept = [stored.tensor(name) for name in stored.names]
    assert kept
    assert file.name not in Path("/proc/self/maps").read_text()
    assert not any(link.resolve() == file for link in Path("/proc/self/fd").iterdir() if link.exists())


def header(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Rewrite the header, and leave the tensors as they are."""
    raw = file.read_bytes()
    end = 8 + int.from_bytes(raw[:8], "little")
    content = json.loads(raw[8:end])
    change(content)
    new = json.dumps(content).encode()
    file.write_bytes(len(new).to_bytes(8, "little") + new + raw[end:])


def cut(part: float) -> Callable[[Path], object]:
    return lambda file: file.write_bytes(file.read_bytes()[: int(file.stat().st_size * part)])


INCOMPLETE = r"model\.safetensors: not a complete safetensors file \(.*\); copy it again"
BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (Path.unlink, r"model\.safetensors: no such file"),
    "empty": (cut(0.0), INCOMPLETE),
    "half a header": (cut(0.05), INCOMPLETE),
    "half the tensors": (cut(0.99), INCOMPLETE),
    "one byte short": (lambda f: f.write_bytes(f.read_bytes()[:-1]), r"it holds \d+ bytes of tensors, its header says"),
    "one byte more": (lambda f: f.write_bytes(f.read_bytes() + b"x"), INCOMPLETE),
    "no JSON": (lambda f: f.write_bytes(b"\x04" + bytes(7) + b"{{{{"), INCOMPLETE),
    "no UTF-8": (lambda f: f.write_bytes(b"\x08" + bytes(7) + b'{"\xff": 1}'), INCOMPLETE),
    "a list": (lambda f: f.write_bytes(b"\x02" + bytes(7) + b"[]"), INCOMPLETE),
    "a huge header": (lambda f: f.write_bytes(b"\xff" * 8 + f.read_bytes()), "ends before its header does"),
    "a pickle": (lambda f: torch.save(SHAPES, f), INCOMPLETE),
    "four bits": (
        lambda f: header(f, lambda h: h["a.weight"].update(dtype="F4")),
        r"model\.safetensors: a\.weight is F4, which is not read; convert it to F32, F16 or BF16",
    ),
    "wrong size": (
        lambda f: header(f, lambda h: h["a.weight"].update(shape=[5, 4])),
        r"a\.weight is F32 \[5, 4\] in 60",
    ),
    "negative size": (lambda f: header(f, lambda h: h["a.weight"].update(shape=[-5, -3])), INCOMPLETE),
    "overlap": (lambda f: header(f, lambda h: h["a.weight"].update(data_offsets=[4, 64])), INCOMPLETE),
    "a tensor gone": (lambda f: header(f, lambda h: h.pop("a.weight")), INCOMPLETE),
    "no offsets": (lambda f: header(f, lambda h: h["a.weight"].pop("data_offsets")), INCOMPLETE),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_safetensors(file: Path, case: str) -> None:
    change, words = BROKEN[case]
    change(file)
    refused(lambda: open_safetensors(file), words)


def refused(act: Callable[[], object], words: str) -> None:
    with pytest.raises(CheckpointError, match=words) as caught:
        act()
    assert "\n" not in str(caught.value)


def test_a_file_that_shrinks_or_goes_between_two_reads(file: Path) -> None:
    stored = open_safetensors(file)
    cut(0.5)(file)
    refused(lambda: [stored.tensor(name) for name in sorted(stored.names)], "has become shorter while it was read")
    file.unlink()
    refused(lambda: stored.tensor("a.weight"), r"cannot be read \(No such file")
    refused(lambda: stored.tensor("b"), "has no tensor b")


@pytest.fixture
def index(tmp_path: Path) -> Path:
    save_file({"a": torch.ones(2), "b": torch.zeros(3)}, tmp_path / "x-1.safetensors")
    (tmp_path / "more").mkdir()
    save_file({"c": torch.full((4,), 2.0)}, tmp_path / "more" / "x-2.safetensors")
    return write_index(tmp_path, {"a": "x-1.safetensors", "b": "x-1.safetensors", "c": "more/x-2.safetensors"})


def write_index(folder: Path, weight_map: dict[str, str]) -> Path:
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    return path


def test_shards(index: Path) -> None:
    stored = open_sharded(index)
    same(stored, {"a": torch.ones(2), "b": torch.zeros(3), "c": torch.full((4,), 2.0)})
    assert [f.name for f in stored.files] == ["x-2.safetensors", "x-1.safetensors"]
    assert stored.where("c").parent.name == "more"
    assert str(stored) == str(index.parent)
    lines = sorted(f"{f.name} {hashlib.sha256(f.read_bytes()).hexdigest()}\n" for f in stored.files)
    assert stored.sha256() == hashlib.sha256("".join(lines).encode()).hexdigest()


def test_a_shard_may_be_a_link_and_hold_more_than_the_index_names(index: Path, tmp_path: Path) -> None:
    shard = tmp_path / "x-1.safetensors"
    blob = tmp_path.parent / f"{tmp_path.name}-blob"
    shard.rename(blob)
    shard.symlink_to(blob)
    assert open_sharded(write_index(tmp_path, {"a": "x-1.safetensors"})).names == {"a"}


@pytest.mark.parametrize(
    ("weight_map", "words"),
    [
        ({"a": "x-9.safetensors"}, r"index\.json: names x-9\.safetensors, which is not beside it"),
        ({"d": "x-1.safetensors"}, r"x-1\.safetensors: lacks d, which model\.safetensors\.index\.json says it has"),
        ({"a": "../x-1.safetensors"}, r"names a file '\.\./x-1\.safetensors' outside its directory"),
        ({"a": "more/../../x.safetensors"}, "outside its directory"),
        ({"a": "/etc/passwd"}, "names a file '/etc/passwd' outside its directory"),
        ({"a": "model.safetensors.index.json"}, "not a complete safetensors file"),
        ({"a": "more"}, "names more, which is not beside it"),
        ({}, "names no tensor"),
    ],
)
def test_broken_shards(index: Path, weight_map: dict[str, str], words: str) -> None:
    refused(lambda: open_sharded(write_index(index.parent, weight_map)), words)


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"weight_map": {"a": 1}}', b'{"weight_map": "\xff"}'])
def test_broken_index(index: Path, content: bytes) -> None:
    index.write_bytes(content)
    refused(lambda: open_sharded(index), r"index\.json: ")


def test_merged(index: Path, file: Path) -> None:
    stored = merged([open_sharded(index), open_safetensors(file)])
    same(stored, TENSORS | {"a": torch.ones(2), "b": torch.zeros(3), "c": torch.full((4,), 2.0)})
    assert stored.where("scalar") == file
    assert len(stored.files) == 3
    refused(lambda: merged([stored, open_safetensors(file)]), r"also stands in .*model\.safetensors")


BASE = torch.arange(60, dtype=torch.float32).reshape(10, 6)
VIEWS = {"turned": BASE.t(), "window": BASE[2:5, 1:4], "parameter": torch.nn.Parameter(torch.ones(2))}


@pytest.mark.parametrize("zipped", [True, False])
def test_pt(tmp_path: Path, zipped: bool) -> None:
    path, wanted = tmp_path / "model.pt", TENSORS | VIEWS
    torch.save({f"module.{n}": t for n, t in wanted.items()}, path, _use_new_zipfile_serialization=zipped)
    stored = open_pt(path)
    same(stored, wanted)
    stored.tensor("window").zero_()
    same(stored, wanted)
    assert stored.sha256() == hashlib.sha256(path.read_bytes()).hexdigest()


class Evil:
    """What a pickle can do to whoever opens it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("how", ["alone", "among tensors", "plain pickle", "old format"])
def test_a_pickle_is_never_executed(tmp_path: Path, how: str) -> None:
    path, mark = tmp_path / "model.pt", tmp_path / "owned"
    content = Evil(mark) if how == "alone" else {"a": torch.ones(2), "b": Evil(mark)}
    if how == "plain pickle":
        path.write_bytes(pickle.dumps({"b": Evil(mark)}))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how != "old format")
    refused(lambda: open_pt(path), r"model\.pt: is not plain tensors; it needs code to be read")
    assert not mark.exists()
    pickle.loads(pickle.dumps(Evil(mark)))
    assert mark.is_dir(), "the trap itself works"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"model": {"a": torch.ones(2)}}, "is not plain tensors; model is of type dict"),
        ({"a": torch.ones(2), "epoch": 3}, "is not plain tensors; epoch is of type int"),
        ({3: torch.ones(2)}, "is not plain tensors; 3 is of type Tensor"),
        (torch.ones(2), "is not plain tensors; it is one Tensor"),
        ([torch.ones(2)], "is not plain tensors; it is one list"),
        (torch.nn.Linear(2, 2), "is not plain tensors; it needs code to be read"),
        ({"a": torch.ones(2), "module.a": torch.ones(2)}, r"holds both a and module\.a"),
        ({"a": torch.ones(2, dtype=torch.complex64)}, r"a is torch\.complex64"),
        ({"a": torch.eye(2).to_sparse()}, r"a is torch\.float32, torch\.sparse_coo"),
    ],
)
def test_what_is_not_plain_tensors(tmp_path: Path, content: Any, words: str) -> None:
    torch.save(content, tmp_path / "model.pt")
    refused(lambda: open_pt(tmp_path / "model.pt"), words)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 0.999])
def test_half_a_pt(tmp_path: Path, zipped: bool, part: float) -> None:
    path = tmp_path / "model.pt"
    torch.save({"a": torch.ones(5000)}, path, _use_new_zipfile_serialization=zipped)
    cut(part)(path)
    refused(lambda: open_pt(path), r"model\.pt: (not a complete torch file \(.*\); copy it again|.*is damaged)")
    path.unlink()
    refused(lambda: open_pt(path), r"model\.pt: no such file")
