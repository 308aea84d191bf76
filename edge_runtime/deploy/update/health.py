"""The service's own word that it proved itself since this start: /run/edge-runtime/healthy.json."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec

from edge_runtime.deploy.places import HEALTHY_TICKS
from edge_runtime.errors import UpdateError, one_line

_MOST_BYTES = 1 << 20


class Health(msgspec.Struct, frozen=True):
    """What is asked of the file; it says more."""

    bundle: str
    ticks: int
    missed: int
    healthy: bool
    self_test: dict[str, object]


def read(path: Path) -> Health:
    """Raises `UpdateError` where the file is not there or does not say that the robot is well."""
    try:
        health = msgspec.json.decode(_content(path), type=Health)
    except FileNotFoundError as error:
        raise UpdateError(f"{path}: not there: the service has not proved itself since the start") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UpdateError(f"{path}: {one_line(error)}") from error
    if not health.healthy:
        raise UpdateError(f"{path}: says that the service is not well")
    if health.ticks < HEALTHY_TICKS:
        raise UpdateError(f"{path}: {health.ticks} cycles; {HEALTHY_TICKS} in time are wanted")
    if not health.bundle or health.self_test.get("verdict") not in ("pass", "accepted"):
        raise UpdateError(f"{path}: the self-test of the policy is not passed")
    return health


def _content(path: Path) -> bytes:
    """The service owns the folder: no link of its making is followed, and no pipe waited for."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UpdateError(f"{path}: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > _MOST_BYTES:
            raise UpdateError(f"{path}: no file that the service writes")
        return file.read(_MOST_BYTES)
