"""What the two ends of `edge deploy` tell each other over ssh: one JSON object a line, each way."""

from __future__ import annotations

from typing import IO, Literal, TypeVar

import msgspec

from edge_runtime.errors import CommandError, one_line

MOST_BYTES = 1 << 25
"""Longest line: a manifest in base64 has far less."""


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="is", tag=str.lower):
    """Any of those below; "is" says which."""


class Offer(Message, frozen=True):
    """The first word: the bytes of manifest.json, and their signature."""

    manifest: bytes
    signature: bytes


class Wanted(Message, frozen=True):
    """What the robot lacks of it: copy `files`, `size` bytes in all, into `folder`."""

    folder: str
    files: tuple[str, ...]
    size: int


class Copied(Message, frozen=True):
    """All of it is there."""


class Step(Message, frozen=True):
    """The robot is at `what`, and `part` of that is done."""

    what: str
    part: float


class Switched(Message, frozen=True):
    """The bundle is current and on trial: from now on nobody is needed to wait for it."""


class Outcome(Message, frozen=True):
    """The last word. `kept`: it proved itself. `failed`: the one before is back. `open`: neither, up to now."""

    bundle: str
    state: Literal["kept", "failed", "open"]
    why: str = ""


M = TypeVar("M", bound=Message)
_ANY = Offer | Wanted | Copied | Step | Switched | Outcome


def put(to: IO[bytes], message: Message) -> None:
    """Send one."""
    to.write(msgspec.json.encode(message) + b"\n")
    to.flush()


def get(line: bytes, *kinds: type[M]) -> M:
    """The message of a line; `CommandError` where it is of none of these kinds."""
    try:
        message = msgspec.json.decode(line, type=_ANY)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CommandError(f"the other end of edge deploy is of another version ({one_line(error)})") from error
    if not isinstance(message, kinds):
        raise CommandError(f"the other end of edge deploy is of another version (it says {type(message).__name__})")
    return message
