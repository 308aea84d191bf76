"""A virtual machine in qemu without a screen: its console is a file, and its guest agent runs commands.

Commands go to `qemu-ga` in the machine (Debian's qemu-guest-agent, which starts by itself where the port is), and
resets by a hardware watchdog are told by qemu (QMP): both speak JSON, one object a line.
"""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_runtime.errors import EdgeError

_AGENT_PORT = "org.qemu.guest_agent.0"
"""The name under which qemu-ga and its udev rule look for the port (qemu's docs/interop/qemu-ga.rst)."""
_RESYNC = b"\xff"
"""No byte of JSON: qemu-ga drops what it has half read (qga/qapi-schema.json, guest-sync-delimited)."""
_LOOK_S, _LONGEST_PAUSE_S = 0.1, 1.0
_SYNC_S = 3.0
_ANSWER_S = 30.0
_KILL_S = 10.0


class MachineError(EdgeError):
    """The machine did not do in time what it was asked to, or has ended."""


@dataclass(frozen=True)
class Result:
    """What a command in the machine came to; `output` is its standard output and then its standard error."""

    status: int
    output: str


class Machine:
    """`qemu`: its whole command line, but for the console, the agent and QMP, which are put in `folder`."""

    def __init__(self, qemu: Sequence[str], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.console = folder / "console.log"
        """What the serial console printed since the first start."""
        self._agent_path, self._qmp_path = folder / "agent.sock", folder / "qmp.sock"
        self._command = [
            *qemu,
            *("-display", "none", "-monitor", "none"),
            *("-chardev", f"file,id=console,path={self.console},append=on", "-serial", "chardev:console"),
            *("-chardev", f"socket,id=agent,path={self._agent_path},server=on,wait=off"),
            *("-device", "virtio-serial-pci", "-device", f"virtserialport,chardev=agent,name={_AGENT_PORT}"),
            *("-qmp", f"unix:{self._qmp_path},server=on,wait=off"),
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self._agent: _Lines | None = None
        self._qmp: _Lines | None = None
        self._power_on_s = 0.0
        self._console_at = 0
        self._syncs = 0

    def start(self) -> None:
        """Power on. `MachineError` with qemu's own words where it does not start."""
        self.power_cut()
        for path in (self._agent_path, self._qmp_path):
            path.unlink(missing_ok=True)
        self._console_at = self.console.stat().st_size if self.console.exists() else 0
        self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self._power_on_s = time.monotonic()
        try:
            self._qmp = self._connected(self._qmp_path)
            self._agent = self._connected(self._agent_path)
        except MachineError:
            self.power_cut()
            raise
        self._qmp.receive(_ANSWER_S)  # the greeting
        self._qmp.send({"execute": "qmp_capabilities"})

    @property
    def up_s(self) -> float:
        """Seconds since power-on."""
        return time.monotonic() - self._power_on_s

    def wait_for_line(self, words: str, within_s: float) -> str:
        """The first line of the console since power-on, or since the last one that was found, with `words` in it."""
        end_s = time.monotonic() + within_s
        while True:
            new = self.console.read_bytes()[self._console_at :]
            for line in new.split(b"\n")[:-1]:
                self._console_at += len(line) + 1
                if words.encode() in line:
                    return line.decode(errors="replace").strip()
            self._still(end_s, f'"{words}" on its console')
            time.sleep(_LOOK_S)

    def wait_for_agent(self, within_s: float) -> None:
        """Until the machine is so far that it runs commands, after power-on or a reset."""
        end_s = time.monotonic() + within_s
        while not self._synchronised():
            self._still(end_s, "an answer of its guest agent")

    def run(self, command: str, within_s: float = 60.0, data: bytes | None = None) -> Result:
        """Run `command` in the machine's /bin/sh as root, `data` on its standard input.

        `MachineError` where it takes longer than `within_s`; it then goes on in the machine.
        """
        end_s = time.monotonic() + within_s
        asked: dict[str, Any] = {"path": "/bin/sh", "arg": ["-c", command], "capture-output": True}
        if data is not None:
            asked["input-data"] = base64.b64encode(data).decode()
        process, pauses = self._ask("guest-exec", asked), _pauses()
        while not (found := self._ask("guest-exec-status", process))["exited"]:
            self._still(end_s, f"the end of: {command}")
            time.sleep(next(pauses))
        words = b"".join(base64.b64decode(found.get(name, "")) for name in ("out-data", "err-data"))
        return Result(found.get("exitcode", -found.get("signal", 0)), words.decode(errors="replace"))

    def output(self, command: str, within_s: float = 60.0) -> str:
        """What `command` printed, without space around it. `MachineError` with it where its status is not 0."""
        result = self.run(command, within_s)
        if result.status != 0:
            raise MachineError(f"in the machine: {command}: status {result.status}: {result.output.strip()}")
        return result.output.strip()

    def wait_until(self, command: str, within_s: float) -> str:
        """Run `command` until its status is 0; what it printed then."""
        end_s, pauses = time.monotonic() + within_s, _pauses()
        while (result := self.run(command, within_s)).status != 0:
            self._still(end_s, f"success of: {command} (last: status {result.status}: {result.output.strip()})")
            time.sleep(next(pauses))
        return result.output.strip()

    def read(self, path: str) -> bytes:
        """A file of the machine, of a few megabytes at most."""
        return base64.b64decode(self.output(f"base64 -w 0 {path}"))

    def wait_for_event(self, name: str, within_s: float) -> dict[str, Any]:
        """The next event of that name which qemu tells: WATCHDOG, RESET, SHUTDOWN (qemu's docs/interop/qmp)."""
        assert self._qmp is not None
        end_s = time.monotonic() + within_s
        while (line := self._qmp.receive(_LOOK_S)) is None or line.get("event") != name:
            self._still(end_s, f"the event {name}")
        return line

    def power_cut(self) -> None:
        """Take the power away at once: nothing is flushed, nothing says goodbye. Does nothing where it is off."""
        for line in (self._agent, self._qmp):
            if line is not None:
                line.close()
        self._agent = self._qmp = None
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def stop(self, within_s: float = 60.0) -> None:
        """Let the machine shut itself down. `MachineError` where it does not."""
        self._ask("guest-shutdown", {}, answers=False)
        assert self._process is not None
        try:
            self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise MachineError(f"the machine did not shut itself down within {within_s:.0f} s") from None
        finally:
            self.power_cut()

    def __enter__(self) -> Machine:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.power_cut()

    def _connected(self, path: Path) -> _Lines:
        end_s = time.monotonic() + _ANSWER_S
        while True:
            with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
                return _Lines(path)
            self._still(end_s, f"{path.name} of qemu")
            time.sleep(_LOOK_S)

    def _still(self, end_s: float, waited_for: str) -> None:
        """`MachineError` where qemu has ended or the time is over."""
        assert self._process is not None
        if self._process.poll() is not None:
            said = self._process.stderr.read().decode(errors="replace").strip() if self._process.stderr else ""
            raise MachineError(f"qemu has ended, status {self._process.returncode}: {said or 'without a word'}")
        if time.monotonic() > end_s:
            raise MachineError(f"waited in vain for {waited_for}; the console is in {self.console}")

    def _synchronised(self) -> bool:
        """Whether the agent answers; answers to earlier questions are dropped."""
        assert self._agent is not None
        self._syncs += 1
        self._agent.send({"execute": "guest-sync-delimited", "arguments": {"id": self._syncs}}, prefix=_RESYNC)
        end_s = time.monotonic() + _SYNC_S
        while time.monotonic() < end_s:
            answer = self._agent.receive(_LOOK_S)
            if answer is not None and answer.get("return") == self._syncs:
                return True
        return False

    def _ask(self, what: str, arguments: dict[str, Any], answers: bool = True) -> dict[str, Any]:
        assert self._agent is not None
        self._agent.send({"execute": what, "arguments": arguments})
        if not answers:
            return {}
        answer = self._agent.receive(_ANSWER_S)
        if answer is None or "return" not in answer:
            raise MachineError(f"the guest agent, asked for {what}: {(answer or {}).get('error', 'no answer')}")
        found: dict[str, Any] = answer["return"]
        return found


def _pauses() -> Iterator[float]:
    """Between two looks: every look is work for the machine that is looked at."""
    pause_s = _LOOK_S
    while True:
        yield pause_s
        pause_s = min(_LONGEST_PAUSE_S, 1.5 * pause_s)


class _Lines:
    """One JSON object a line over a unix socket, both ways."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._rest = b""
        try:
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise

    def send(self, what: dict[str, Any], prefix: bytes = b"") -> None:
        self._socket.settimeout(_ANSWER_S)
        with contextlib.suppress(TimeoutError, BrokenPipeError):  # nobody reads: no answer will say so
            self._socket.sendall(prefix + json.dumps(what).encode() + b"\n")

    def receive(self, within_s: float) -> dict[str, Any] | None:
        """The next object, or None where there is none in time or ever."""
        end_s = time.monotonic() + within_s
        while (line := self._line(end_s)) is not None:
            with contextlib.suppress(ValueError):  # half of an answer, cut off by a reset
                found: dict[str, Any] = json.loads(line.strip(_RESYNC))
                return found
        return None

    def close(self) -> None:
        self._socket.close()

    def _line(self, end_s: float) -> bytes | None:
        while b"\n" not in self._rest:
            self._socket.settimeout(max(0.001, end_s - time.monotonic()))
            try:
                data = self._socket.recv(65536)
            except (TimeoutError, ConnectionResetError):
                return None
            if not data:
                return None
            self._rest += data
        line, self._rest = self._rest.split(b"\n", 1)
        return line
