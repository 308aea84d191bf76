"""A wheel becomes the files that its RECORD lists, inside the folder, or nothing of the kind."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_runtime.deploy.package.unpack import unpack
from edge_runtime.errors import EdgeError
from tests.edge_runtime.deploy.package.wheelhouse import TINY, write


def test_modules_are_written_and_scripts_stay_programs(tmp_path: Path) -> None:
    wheel = write(tmp_path, {**TINY, "tiny-1.0.data/platlib/more.py": b"1", "tiny-1.0.data/scripts/go": b"2"})
    unpack(wheel, tmp_path / "site")
    found = {str(f.relative_to(tmp_path / "site")) for f in (tmp_path / "site").rglob("*") if f.is_file()}
    assert found == {*TINY, "more.py", "tiny-1.0.dist-info/RECORD"}
    assert (tmp_path / "site/tiny/__init__.py").read_bytes() == TINY["tiny/__init__.py"]
    assert [(tmp_path / "site/tiny" / name).stat().st_mode & 0o111 for name in ("run", "__init__.py")] == [0o111, 0]


@pytest.mark.parametrize("name", ["../out.py", "/tmp/out.py", "tiny/../../out.py", "tiny\\..\\out.py", "./tiny.py"])
def test_a_name_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    wheel = write(tmp_path / "wheels", {name: b"x"})
    with pytest.raises(EdgeError, match="leads out of the wheel"):
        unpack(wheel, tmp_path / "site")
    assert [path.name for path in tmp_path.iterdir()] == ["wheels"]


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ("", "is not as RECORD says"),
        ("tiny/__init__.py,sha256=abc,14\n", "is not as RECORD says"),
        ("a,b\n", "tiny-1.0"),
    ],
)
def test_what_record_does_not_say_is_refused(tmp_path: Path, record: str, words: str) -> None:
    with pytest.raises(EdgeError, match=words) as caught:
        unpack(write(tmp_path, record=record), tmp_path / "site")
    assert "fetch it again" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_wheels_may_share_a_file_but_not_its_place(tmp_path: Path) -> None:
    site, same = tmp_path / "site", {"shared.py": b"same"}
    unpack(write(tmp_path, same), site)
    unpack(write(tmp_path, same, name="other-2.0-py3-none-any.whl"), site)
    third = write(tmp_path, {"shared.py": b"different"}, name="third-3.0-py3-none-any.whl")
    with pytest.raises(EdgeError, match="another wheel has a different file"):
        unpack(third, site)


@pytest.mark.parametrize("name", [".", "x.data", "x.data/purelib"])
def test_a_name_of_no_file_is_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(EdgeError, match="fetch it again"):
        unpack(write(tmp_path, {name: b"x"}), tmp_path / "site")


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(parts=st.lists(st.sampled_from(["", ".", "..", "x.data", "purelib", "scripts", "a", "\\", "\n"]), max_size=5))
def test_whatever_a_file_is_called_it_goes_below_the_folder_or_nowhere(tmp_path: Path, parts: list[str]) -> None:
    name, folder = "/".join(parts), Path(tempfile.mkdtemp(dir=tmp_path))
    with suppress(EdgeError):
        unpack(write(folder, {name: b"x"}), folder / "site")
    below = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".whl"]
    assert all(path.is_relative_to(folder / "site") for path in below)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(place=st.integers(0, 1000), value=st.integers(0, 255))
def test_no_changed_byte_goes_through_as_another_file(tmp_path: Path, place: int, value: int) -> None:
    wheel = write(tmp_path)
    content = bytearray(wheel.read_bytes())
    content[place % len(content)] = value
    wheel.write_bytes(content)
    site = tmp_path / f"site-{place}-{value}"
    with suppress(EdgeError):
        unpack(wheel, site)
    for file in TINY:
        assert not (site / file).exists() or (site / file).read_bytes() == TINY[file]
