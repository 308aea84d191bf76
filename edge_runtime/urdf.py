"""The joints between a URDF's root and one of its links: all that kinematics needs of the file.

Masses, shapes and meshes are not looked at, and nothing that the file names is opened.
Format: https://wiki.ros.org/urdf/XML/joint.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as xml

from edge_runtime.errors import ConfigError, one_line
from edge_runtime.suggest import did_you_mean

MOST_BYTES = 4 << 20
"""A URDF of a humanoid with every inertia has a few hundred kilobytes."""
TURNING = ("revolute", "continuous")
Vector = tuple[float, float, float]


@dataclass(frozen=True)
class UrdfJoint:
    """One joint. It is placed at `xyz` (m) and `rpy` (rad; about fixed x, then y, then z) in its parent link.

    `axis` is a unit vector, None where the joint is fixed. Without limits `lower` and `upper` are infinite.
    """

    name: str
    xyz: Vector
    rpy: Vector
    axis: Vector | None
    lower: float
    upper: float


def chain(path: Path, tip: str) -> tuple[UrdfJoint, ...]:
    """The joints from the root to the link `tip`, root first.

    Raises `ConfigError`, one line with the file's name, for a file that is no URDF or has no such link.
    """
    try:
        return tuple(_chain(_parse(_read(path)), tip))
    except _Fault as fault:
        raise ConfigError(f"{path}: {fault}") from fault.__cause__


class _Fault(Exception):
    """What is wrong with a URDF, without its name."""


class _Plain(xml.TreeBuilder):
    """A document without a DOCTYPE, so that it can define no entities."""

    def doctype(self, *_: object) -> None:
        raise _Fault("has a DOCTYPE, which no URDF needs: take it out")


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            text = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise _Fault(f"cannot be read: {error.strerror}") from error
    if len(text) > MOST_BYTES:
        raise _Fault(f"is larger than {MOST_BYTES >> 20} MiB, so it is no URDF")
    return text


def _parse(text: bytes) -> xml.Element:
    try:
        root = xml.XML(text, parser=xml.XMLParser(target=_Plain()))
    except (xml.ParseError, ValueError, LookupError) as error:
        raise _Fault(f"is no XML: {one_line(error)}") from error
    if root.tag != "robot":
        raise _Fault("is no URDF: its outermost element is not <robot>")
    return root


def _chain(robot: xml.Element, tip: str) -> list[UrdfJoint]:
    links = [link.get("name", "") for link in robot.iterfind("link")]
    if tip not in links:
        raise _Fault(f"has no link {tip}{did_you_mean(tip, links)}")
    above = _above(robot)
    found: list[UrdfJoint] = []
    link = tip
    while link in above:
        if len(found) > len(above):
            raise _Fault(f"its joints go round in a circle above {tip}")
        joint, link = above[link]
        found.append(_joint(joint))
    return found[::-1]


def _above(robot: xml.Element) -> dict[str, tuple[xml.Element, str]]:
    """Link → the joint that carries it, and that joint's parent link."""
    above: dict[str, tuple[xml.Element, str]] = {}
    for joint in robot.iterfind("joint"):
        child, parent = (_attribute(joint, tag, "link") for tag in ("child", "parent"))
        if child in above:
            raise _Fault(f"link {child} hangs on two joints")
        above[child] = (joint, parent)
    return above


def _joint(element: xml.Element) -> UrdfJoint:
    name, kind = element.get("name", ""), element.get("type", "")
    if element.find("mimic") is not None:
        raise _Fault(f"joint {name} mimics another on the way to the tip, which is not supported")
    axis = None
    if kind in TURNING:
        axis = _unit(name, _vector(element, "axis", "xyz", (1.0, 0.0, 0.0)))
    elif kind != "fixed":
        raise _Fault(f"joint {name} is {kind or 'no type'}; towards the tip may stand {', '.join(TURNING)}, fixed")
    limited = kind == "revolute"
    lower, upper = (_number(element, "limit", side) if limited else math.inf for side in ("lower", "upper"))
    zero = (0.0, 0.0, 0.0)
    return UrdfJoint(
        name=name,
        xyz=_vector(element, "origin", "xyz", zero),
        rpy=_vector(element, "origin", "rpy", zero),
        axis=axis,
        lower=lower if limited else -math.inf,
        upper=upper,
    )


def _attribute(joint: xml.Element, tag: str, key: str) -> str:
    found = joint.find(tag)
    value = None if found is None else found.get(key)
    if value is None:
        raise _Fault(f"joint {joint.get('name', '')} has no <{tag} {key}=…>")
    return value


def _number(joint: xml.Element, tag: str, key: str) -> float:
    """A missing limit of a revolute joint is 0, as the format says; a missing <limit> is an error."""
    if joint.find(tag) is None:
        raise _Fault(f"joint {joint.get('name', '')} is revolute and has no <{tag}>")
    return next(_floats(joint, tag, key, "0"))


def _vector(joint: xml.Element, tag: str, key: str, default: Vector) -> Vector:
    numbers = tuple(_floats(joint, tag, key, " ".join(map(str, default))))
    if len(numbers) != 3:
        raise _Fault(f"joint {joint.get('name', '')}: <{tag} {key}=…> has {len(numbers)} numbers, expected 3")
    return numbers


def _floats(joint: xml.Element, tag: str, key: str, default: str) -> Iterator[float]:
    found = joint.find(tag)
    for word in (default if found is None else found.get(key, default)).split():
        try:
            value = float(word)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise _Fault(f"joint {joint.get('name', '')}: <{tag} {key}=…> has {word!r}, which is no number")
        yield value


def _unit(name: str, axis: Vector) -> Vector:
    length = math.hypot(*axis)
    if length < 1e-6:
        raise _Fault(f"joint {name}: its axis has no direction")
    return axis[0] / length, axis[1] / length, axis[2] / length
