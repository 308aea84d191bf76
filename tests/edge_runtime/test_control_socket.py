"""The control socket: who may connect, what a line may be, and what a client is told when something is wrong."""

from __future__ import annotations

import json
import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_runtime import control_socket
from edge_runtime.control_socket import MAX_CLIENTS, MAX_LINE, Answer, ControlSocket, Waiting, refusal, send
from edge_runtime.errors import CommandError, EdgeError


class Server:
    """A served socket whose handler echoes, refuses, or waits until it is let go."""

    def __init__(self, path: Path, mode: int = 0o600) -> None:
        self.path = path
        self.go = threading.Event()
        self.control = ControlSocket(path, mode)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            self.control.serve(self.handle, 0.02)

    def handle(self, request: dict[str, Any]) -> Waiting:
        def answer() -> Answer | None:
            if request.get("cmd") == "wait" and not self.go.is_set():
                return None
            return refusal("no: because") if request.get("cmd") == "refuse" else {"ok": True, "echo": request}

        return answer

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.control.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "control.sock")
    yield made
    made.close()


def raw(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(5.0)
    connection.connect(str(path))
    return connection


def test_a_request_gets_its_answer(server: Server) -> None:
    assert send(server.path, {"cmd": "status", "é": "ü"})["echo"] == {"cmd": "status", "é": "ü"}


def test_a_refusal_is_one_line_for_the_client(server: Server) -> None:
    with pytest.raises(CommandError, match=r"^no: because$"):
        send(server.path, {"cmd": "refuse"})


def test_several_lines_of_one_client_are_answered_in_order(server: Server) -> None:
    with raw(server.path) as connection:
        connection.sendall(b'{"cmd": "wait"}\n{"n": 2}\n{"n"')
        server.go.set()
        connection.sendall(b": 3}\n")
        answers = connection.makefile()
        assert [json.loads(answers.readline())["echo"] for _ in range(3)] == [{"cmd": "wait"}, {"n": 2}, {"n": 3}]


def test_a_client_that_waits_keeps_no_other_waiting(server: Server) -> None:
    with raw(server.path) as slow:
        slow.sendall(b'{"cmd": "wait"}\n')
        assert send(server.path, {"n": 1})["echo"] == {"n": 1}
        server.go.set()
        assert json.loads(slow.makefile().readline())["ok"]


@pytest.mark.parametrize("line", [b"arm\n", b"[1]\n", b"\xff\xfe\n", b"\n", b'{"cmd": \n', b"[" * 60_000 + b"\n"])
def test_what_is_no_request_is_told_what_one_is(server: Server, line: bytes) -> None:
    with raw(server.path) as connection:
        connection.sendall(line)
        answer = json.loads(connection.makefile().readline())
    assert answer == refusal('a request is one JSON object on one line, such as {"cmd": "status"}')


def test_a_line_without_end_is_cut_off(server: Server) -> None:
    with raw(server.path) as connection:
        connection.sendall(b"x" * (MAX_LINE + 1))
        reader = connection.makefile()
        assert json.loads(reader.readline()) == refusal(f"a request has at most {MAX_LINE} bytes")
        assert reader.readline() == ""
    assert send(server.path, {"n": 1})["ok"]


def test_a_client_that_goes_away_before_its_answer_harms_nobody(server: Server) -> None:
    with raw(server.path) as connection:
        connection.sendall(b'{"cmd": "wait"}\n')
    server.go.set()
    assert send(server.path, {"n": 1})["ok"]


def test_silent_clients_cannot_keep_a_stop_out(server: Server) -> None:
    held = [raw(server.path) for _ in range(MAX_CLIENTS)]
    for connection in held:
        connection.sendall(b'{"n": 1}\n')
        assert connection.recv(100)
    held[0].sendall(b'{"cmd": "wait"}\n')
    threading.Event().wait(0.1)
    assert send(server.path, {"cmd": "stop"})["ok"]
    assert held[1].recv(100) == b""  # it was silent longest
    server.go.set()
    assert b"wait" in held[0].recv(100)  # and this one still waited for its answer
    for connection in held[2:]:
        connection.sendall(b'{"n": 2}\n')
        assert connection.recv(100)
    for connection in held:
        connection.close()


def test_the_control_thread_that_never_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_socket, "ANSWER_S", 0.05)
    server = Server(tmp_path / "control.sock")
    try:
        with pytest.raises(CommandError, match="the control thread did not answer within"):
            send(server.path, {"cmd": "wait"})
        with pytest.raises(CommandError, match=r"did not answer within 0\.01 s"):
            send(server.path, {"cmd": "wait"}, timeout_s=0.01)
    finally:
        server.close()


# ── who may command ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_permissions_are_those_of_the_configuration(tmp_path: Path, mode: int) -> None:
    before = os.umask(0o077)
    try:
        control = ControlSocket(tmp_path / "control.sock", mode)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "control.sock").stat().st_mode) == mode
    control.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_somebody_else_may_not_command(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == "root" and str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    path = tmp_path / "control.sock"
    control = ControlSocket(path, 0o600)
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        os.setuid(65534)
        try:
            send(path, {"n": 1})
            words = b"let in"
        except CommandError as error:
            words = str(error).encode()
        os.write(write, words)
        os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    words = os.read(read, 1000).decode()
    os.close(read)
    control.close()
    assert words == f"{path}: you may not command this robot: see control.socket_mode"


# ── the file ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    server = Server(path)
    assert send(path, {"n": 1})["ok"]
    server.close()
    assert not path.exists()


def test_a_live_socket_is_refused(server: Server) -> None:
    with pytest.raises(EdgeError, match=r"a robot is running at .* already: stop that one first"):
        ControlSocket(server.path, 0o600)
    assert send(server.path, {"n": 1})["ok"]


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    path.write_text("my notes")
    with pytest.raises(EdgeError, match="is there and is no socket"):
        ControlSocket(path, 0o600)
    assert path.read_text() == "my notes"


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match=r"control\.socket: .*No such file or directory"):
        ControlSocket(tmp_path / "none" / "control.sock", 0o600)


def test_closing_leaves_another_robots_socket(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    first = ControlSocket(path, 0o600)
    path.unlink()
    second = ControlSocket(path, 0o600)
    first.close()
    assert path.exists()
    second.close()
    assert not path.exists()


@pytest.mark.parametrize("stale", [False, True])
def test_no_robot_running(tmp_path: Path, stale: bool) -> None:
    path = tmp_path / "control.sock"
    if stale:
        left = socket.socket(socket.AF_UNIX)
        left.bind(str(path))
        left.close()
    with pytest.raises(CommandError, match="no robot is running there: start it with `edge run`"):
        send(path, {"cmd": "stop"})
