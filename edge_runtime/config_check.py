"""The way from a file to a `Robot`: syntax, names and types, possible values. The first fault found is the error."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from edge_runtime import calibrated as calibration
from edge_runtime.config import Robot
from edge_runtime.config_rules import problems
from edge_runtime.deploy import places
from edge_runtime.errors import ConfigError, printable
from edge_runtime.files import plain
from edge_runtime.suggest import did_you_mean

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_AT = re.compile(r"(?: - at `\$\.?(?P<key>[^`]*)`)?$")


def load(path: Path, *, calibrated: bool = True) -> Robot:
    """Read, check, make paths absolute, and put in what was calibrated. Raises `ConfigError`."""
    try:
        robot = parse(path.read_bytes(), folder=path.parent)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error.__cause__
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}{_whose(path, error)}") from error
    return calibration.apply(robot) if calibrated else robot


def _whose(path: Path, error: OSError) -> str:
    """Whom to ask where a robot's own file may not be read."""
    denied = isinstance(error, PermissionError) and path == places.ROBOT
    return f": only members of the group {places.USER} may command this robot" if denied else ""


def parse(text: bytes, folder: Path) -> Robot:
    """A `Robot` from the bytes of a robot.toml that lies in `folder`. Raises `ConfigError` without the file's name."""
    try:
        document = tomllib.loads(text.decode())
    except UnicodeDecodeError as error:
        line = text[: error.start].count(b"\n") + 1
        raise ConfigError(f"line {line}: not UTF-8 text") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"not TOML: {' '.join(str(error).split())}") from error
    return build(document, folder)


def build(document: dict[str, Any], folder: Path) -> Robot:
    """A `Robot` from a parsed robot.toml that lies in `folder`. Raises `ConfigError` without the file's name."""
    for fault in _unknown_keys(document, msgspec.inspect.type_info(Robot), ""):
        raise ConfigError(fault)
    try:
        robot = msgspec.convert(document, Robot)
    except msgspec.ValidationError as error:
        raise ConfigError(_in_words(str(error), document)) from error
    robot = _absolute(robot, folder.absolute())
    for fault in problems(robot):
        raise ConfigError(fault)
    return robot


def _unknown_keys(value: object, kind: msgspec.inspect.Type, key: str) -> Iterator[str]:
    """Every key that no structure has, by its dotted name."""
    kind = _present(kind)
    if isinstance(kind, msgspec.inspect.StructType) and isinstance(value, dict):
        fields = {f.encode_name: f.type for f in kind.fields}
        for name, inner in value.items():
            dotted = f"{key}.{name}" if key else name
            if name not in fields:
                yield f"{printable(dotted)}: unknown key{did_you_mean(name, fields)}"
            else:
                yield from _unknown_keys(inner, fields[name], dotted)
    elif isinstance(kind, msgspec.inspect.VarTupleType) and isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _unknown_keys(inner, kind.item_type, f"{key}[{index}]")


def _present(kind: Any) -> Any:
    """The type of a value that is there, where it may be left out or has limits."""
    kind = getattr(kind, "type", kind)
    if isinstance(kind, msgspec.inspect.UnionType):
        return next(t for t in kind.types if not isinstance(t, msgspec.inspect.NoneType))
    return kind


def _in_words(message: str, document: dict[str, Any]) -> str:
    """msgspec's message as `key: what is wrong`, with the value and the nearest valid one."""
    match = _AT.search(message)
    key = (match["key"] or "") if match else ""
    what = _AT.sub("", message).replace("`", "").replace("object", "table")
    if missing := re.match(r"Object missing required field (\w+)", what):
        return f"{key}: {missing[1]} is missing" if key else f"{missing[1]} is missing"
    value, kind = _look_up(key, document)
    if isinstance(kind, msgspec.inspect.LiteralType) and type(value) in map(type, kind.values):
        return f"{key}: there is no {_show(value)}{did_you_mean(value, kind.values)}"
    said = (getattr(kind, "extra", None) or {}).get("say")
    if said and isinstance(value, str):
        return f"{key}: must be {said}, not {_show(value)}"
    got = "" if ", got " in what or isinstance(value, (dict, list)) else f", got {_show(value)}"
    return f"{key}: {what[0].lower()}{what[1:]}{got}"


def _look_up(key: str, document: dict[str, Any]) -> tuple[object, object]:
    """The value at a dotted key, and msgspec's description of the type it should have."""
    value: Any = document
    kind: Any = msgspec.inspect.type_info(Robot)
    for part in re.findall(r"\w+|\[\d+\]", key):
        kind = _present(kind)
        if part.startswith("["):
            index = int(part[1:-1])
            value = value[index]
            kind = kind.item_type if isinstance(kind, msgspec.inspect.VarTupleType) else kind.item_types[index]
        else:
            value = value[part]
            kind = next(f.type for f in kind.fields if f.encode_name == part)
    return value, kind


def _show(value: object) -> str:
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return printable(text if len(text) <= 60 else f"{text[:57]}…")


def _absolute(robot: Robot, folder: Path) -> Robot:
    """Bundle and socket are relative to the file; ports and devices only where they say so with a leading dot."""

    def resolve(place: str) -> str:
        return str(folder / place) if place.startswith(("./", "../")) else place

    kinematics, box = robot.kinematics, robot.black_box
    bundle = plain(folder / robot.policy.bundle)
    return msgspec.structs.replace(
        robot,
        policy=msgspec.structs.replace(robot.policy, bundle=str(bundle)),
        calibration=str(folder / robot.calibration) if robot.calibration else "",
        black_box=msgspec.structs.replace(box, folder=str(folder / box.folder) if box.folder else ""),
        control=msgspec.structs.replace(robot.control, socket=str(folder / robot.control.socket)),
        kinematics=msgspec.structs.replace(kinematics, urdf=str(folder / kinematics.urdf) if kinematics.urdf else ""),
        cameras=tuple(msgspec.structs.replace(c, device=resolve(c.device)) for c in robot.cameras),
        buses=tuple(msgspec.structs.replace(b, port=resolve(b.port)) for b in robot.buses),
        estops=tuple(msgspec.structs.replace(e, device=resolve(e.device)) for e in robot.estops),
        leader=robot.leader and msgspec.structs.replace(robot.leader, port=resolve(robot.leader.port)),
        gamepad=robot.gamepad and msgspec.structs.replace(robot.gamepad, device=resolve(robot.gamepad.device)),
    )
