"""The control socket: one JSON object a line, an answer a line. Whoever may write to the socket may command the robot.

Both ends are here: `ControlSocket`, served by the housekeeping thread, and `send` for `edge task`, `edge stop`, …
"""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_runtime.errors import CommandError, EdgeError

MAX_LINE = 65_536
"""Longest request, bytes."""
MAX_CLIENTS = 16
BACKLOG = 64
ANSWER_S = 10.0
"""Longest wait for an answer."""
_POLL_S = 0.005

Answer = dict[str, Any]
Waiting = Callable[[], Answer | None]
"""Asked again and again until it gives the answer."""
Handler = Callable[[dict[str, Any]], Waiting]


def refusal(error: str) -> Answer:
    """The answer to a request that was not done."""
    return {"ok": False, "error": error}


class _Client:
    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.received = bytearray()
        self.waiting: Waiting | None = None
        self.until_s = 0.0


class ControlSocket:
    """The listening end. `serve` in a loop, on one thread."""

    def __init__(self, path: Path, mode: int) -> None:
        """Listen at `path` with permissions `mode`; raises `EdgeError` where another robot listens there already."""
        try:
            _make_room(path)
            self._listener = _listen(path, mode)
            self._inode = path.stat().st_ino
        except OSError as error:
            raise EdgeError(f"control.socket: {path}: {error.strerror}") from error
        self._path = path
        self._clients: dict[int, _Client] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)

    def serve(self, handler: Handler, timeout_s: float) -> None:
        """Take what has come, answer what can be answered; wait up to `timeout_s` where there is nothing to do."""
        waiting = any(client.waiting for client in self._clients.values())
        for key, _ in self._selector.select(_POLL_S if waiting else timeout_s):
            if key.fd in self._clients:
                self._receive(self._clients[key.fd])
            else:
                self._accept()
        for client in list(self._clients.values()):
            self._advance(client, handler)

    def close(self) -> None:
        """Close every connection and remove the socket, unless it is another's by now."""
        for client in list(self._clients.values()):
            self._drop(client)
        self._selector.close()
        self._listener.close()
        with contextlib.suppress(FileNotFoundError):
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError):
            connection, _ = self._listener.accept()
            if len(self._clients) >= MAX_CLIENTS:
                self._make_place()
            connection.setblocking(False)
            self._clients[connection.fileno()] = _Client(connection)
            self._selector.register(connection, selectors.EVENT_READ)

    def _make_place(self) -> None:
        """Drop whoever has been silent longest, or else come first: a `stop` must always get through."""
        clients = list(self._clients.values())
        self._drop(next((client for client in clients if client.waiting is None), clients[0]))

    def _receive(self, client: _Client) -> None:
        try:
            data = client.connection.recv(MAX_LINE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        client.received += data
        if not data:
            self._drop(client)
        elif b"\n" not in client.received and len(client.received) > MAX_LINE:
            self._say(client, refusal(f"a request has at most {MAX_LINE} bytes"))
            self._drop(client)

    def _advance(self, client: _Client, handler: Handler) -> None:
        """Answer the request that waits, then begin the next."""
        while client.connection.fileno() in self._clients:
            if client.waiting is not None:
                answer = client.waiting()
                if answer is None and time.monotonic() > client.until_s:
                    answer = refusal(f"the control thread did not answer within {ANSWER_S:g} s")
                if answer is None:
                    return
                client.waiting = None
                self._say(client, answer)
            elif b"\n" in client.received:
                line, _, rest = client.received.partition(b"\n")
                client.received = rest
                client.waiting = _begin(bytes(line), handler)
                client.until_s = time.monotonic() + ANSWER_S
            else:
                return

    def _say(self, client: _Client, answer: Answer) -> None:
        try:
            client.connection.sendall(json.dumps(answer).encode() + b"\n")
        except OSError:  # gone, or so slow that a kernel's buffer of answers waits for it
            self._drop(client)

    def _drop(self, client: _Client) -> None:
        if self._clients.pop(client.connection.fileno(), None) is not None:
            self._selector.unregister(client.connection)
            client.connection.close()


def _begin(line: bytes, handler: Handler) -> Waiting:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        request = None
    if not isinstance(request, dict):
        return lambda: refusal('a request is one JSON object on one line, such as {"cmd": "status"}')
    return handler(request)


def _make_room(path: Path) -> None:
    """Remove a socket that nobody listens to any more. Raises `EdgeError` for a live one and for anything else."""
    try:
        kind = path.stat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise EdgeError(f"control.socket: {path} is there and is no socket: remove it or name another")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except (BlockingIOError, TimeoutError):
            pass  # it is so busy that it does not even listen, but it is there
    raise EdgeError(f"control.socket: a robot is running at {path} already: stop that one first")


def _listen(path: Path, mode: int) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        path.chmod(mode)  # before listen: nobody connects with the permissions that bind left
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def send(path: Path, request: dict[str, Any], timeout_s: float = ANSWER_S + 1.0) -> Answer:
    """Send one request to a running robot and return its answer.

    Raises `CommandError`, one line: no robot there, no permission, no answer in time, or the robot's own refusal.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        try:
            connection.connect(str(path))
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as answers:
                line = answers.readline()
        except (FileNotFoundError, ConnectionRefusedError):
            raise CommandError(f"{path}: no robot is running there: start it with `edge run`") from None
        except PermissionError:
            raise CommandError(f"{path}: you may not command this robot: see control.socket_mode") from None
        except TimeoutError:
            raise CommandError(f"{path}: the robot did not answer within {timeout_s:g} s") from None
        except OSError as error:
            raise CommandError(f"{path}: {error.strerror}") from error
    if not line:
        raise CommandError(f"{path}: the robot closed the connection without an answer")
    answer: Answer = json.loads(line)
    if not answer.get("ok"):
        raise CommandError(str(answer.get("error", answer)))
    return answer
