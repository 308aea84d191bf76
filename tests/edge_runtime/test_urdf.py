"""The chain of joints of a URDF, and every file that is none: one line that names the file."""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_runtime.errors import ConfigError
from edge_runtime.urdf import MOST_BYTES, UrdfJoint, chain

TURN = (
    '<joint name="{0}" type="revolute"><parent link="{1}"/><child link="{2}"/>'
    '<axis xyz="0 0 2"/><limit lower="-1" upper="0.5"/></joint>'
)
ARM = f"""<robot name="arm"><link name="base"/><link name="one"/><link name="tip"/><link name="aside"/>
{TURN.format("first", "base", "one")}
<joint name="end" type="fixed"><parent link="one"/><child link="tip"/><origin xyz="0 0 0.5" rpy="0 1 0"/></joint>
<joint name="slide" type="prismatic"><parent link="one"/><child link="aside"/></joint></robot>"""


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "arm.urdf"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_the_way_from_the_root_to_the_tip(tmp_path: Path) -> None:
    first, end = chain(written(tmp_path, ARM), "tip")
    assert (first.name, first.axis, first.lower, first.upper) == ("first", (0.0, 0.0, 1.0), -1.0, 0.5)
    assert (end.name, end.axis, end.xyz, end.rpy) == ("end", None, (0.0, 0.0, 0.5), (0.0, 1.0, 0.0))
    assert chain(tmp_path / "arm.urdf", "base") == ()


def test_a_continuous_joint_has_no_limits_and_x_is_the_axis_that_is_meant(tmp_path: Path) -> None:
    text = ARM.replace("revolute", "continuous").replace('<axis xyz="0 0 2"/>', "")
    first, _ = chain(written(tmp_path, text), "tip")
    assert (first.axis, first.lower, first.upper) == ((1.0, 0.0, 0.0), -math.inf, math.inf)


def test_meshes_are_not_opened(tmp_path: Path) -> None:
    mesh = '<visual><geometry><mesh filename="package://nowhere/x.stl"/></geometry></visual>'
    path = written(tmp_path, ARM.replace('<link name="tip"/>', f'<link name="tip">{mesh}</link>'))
    assert len(chain(path, "tip")) == 2


ENTITIES = '<!DOCTYPE robot [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]>'
REFUSED = {
    "empty": ("", "is no XML"),
    "text": ("my arm", "is no XML"),
    "cut": (ARM[:200], "is no XML"),
    "nul": (ARM.encode().replace(b"first", b"fir\0st"), "is no XML"),
    "encoding": ('<?xml version="1.0" encoding="klingon"?>' + ARM, "is no XML"),
    "entities": (ENTITIES + ARM, "has a DOCTYPE"),
    "outside": ('<!DOCTYPE robot SYSTEM "file:///etc/passwd">' + ARM, "has a DOCTYPE"),
    "sdf": ("<sdf/>", "is no URDF"),
    "large": (ARM + " " * MOST_BYTES, "larger than 4 MiB"),
    "no tip": (ARM.replace('<link name="tip"/>', '<link name="tap"/>'), 'has no link tip, did you mean "tap"'),
    "circle": (ARM.replace("</robot>", TURN.format("back", "tip", "base") + "</robot>"), "round in a circle"),
    "two": (ARM.replace("</robot>", TURN.format("more", "base", "tip") + "</robot>"), "link tip hangs on two joints"),
    "no parent": (ARM.replace('<parent link="one"/>', ""), "joint end has no <parent link="),
    "no limit": (ARM.replace('<limit lower="-1" upper="0.5"/>', ""), "joint first is revolute and has no <limit>"),
    "nan": (ARM.replace('"-1"', '"nan"'), "joint first: <limit lower=…> has 'nan'"),
    "word": (ARM.replace("0 0 0.5", "0 0 up"), "joint end: <origin xyz=…> has 'up'"),
    "short": (ARM.replace("0 0 0.5", "0 0"), "joint end: <origin xyz=…> has 2 numbers, expected 3"),
    "axis": (ARM.replace("0 0 2", "0 0 0"), "joint first: its axis has no direction"),
    "slide": (ARM.replace('"revolute"', '"prismatic"'), "joint first is prismatic; towards the tip may stand"),
    "mimic": (ARM.replace("<axis", '<mimic joint="x"/><axis'), "joint first mimics another"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_is_none_is_one_line(tmp_path: Path, case: str) -> None:
    text, words = REFUSED[case]
    with pytest.raises(ConfigError) as caught:
        chain(written(tmp_path, text), "tip")
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / 'arm.urdf'}: ")
    assert str(caught.value).isprintable()


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.urdf", tmp_path):
        with pytest.raises(ConfigError, match="cannot be read: "):
            chain(path, "tip")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, len(ARM)), put=st.text('<>"/ =&;!joint0.axn\n', max_size=12), drop=st.integers(0, 20))
def test_whatever_is_in_the_file_it_is_read_or_refused(tmp_path: Path, cut: int, put: str, drop: int) -> None:
    path = written(tmp_path, ARM[:cut] + put + ARM[cut + drop :])
    with suppress(ConfigError):
        assert all(isinstance(joint, UrdfJoint) for joint in chain(path, "tip"))
