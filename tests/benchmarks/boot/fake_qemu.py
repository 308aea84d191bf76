"""Stands in for qemu: its console is a file, its "machine" this one, and its guest agent runs commands here.

The console takes what the test writes to it. The agent's first answer, if asked for it by `half`, is cut off as by a
reset, and QMP tells of that reset.
"""

from __future__ import annotations

import base64
import json
import re
import socket
import subprocess
import sys
import threading


def listen(option: str) -> socket.socket:
    path = next(found[1] for word in sys.argv if (found := re.match(option, word)))
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen(1)
    return server


def qmp(server: socket.socket, resets: bool) -> None:
    with server.accept()[0].makefile("rw") as line:
        print('{"QMP": {}}', file=line, flush=True)
        line.readline()
        print('{"return": {}}', file=line, flush=True)
        if resets:
            print('{"event": "RESET"}\n{"event": "WATCHDOG", "data": {"action": "reset"}}', file=line, flush=True)
        line.readline()


def agent(server: socket.socket, half: bool) -> None:
    done = {}
    with server.accept()[0].makefile("rwb") as line:
        for asked in line:
            order = json.loads(asked.lstrip(b"\xff"))
            what, given = order["execute"], order.get("arguments", {})
            if what == "guest-sync-delimited":
                if half:
                    line.write(b'{"return": {"exi')
                    line.write(b'\n{"return": 4711}\n')
                    half = False
                answer = b'\xff{"return": %d}' % given["id"]
            elif what == "guest-exec":
                data = base64.b64decode(given.get("input-data", ""))
                done[len(done)] = subprocess.run(
                    [given["path"], *given["arg"]], input=data, capture_output=True, check=False
                )
                answer = json.dumps({"return": {"pid": len(done) - 1}}).encode()
            elif what == "guest-exec-status":
                one = done[given["pid"]]
                told = {"exited": True, "exitcode": one.returncode}
                for name, text in (("out-data", one.stdout), ("err-data", one.stderr)):
                    if text:
                        told[name] = base64.b64encode(text).decode()
                answer = json.dumps({"return": told}).encode()
            else:
                sys.exit(0)  # guest-shutdown
            line.write(answer + b"\n")
            line.flush()


if "broken" in sys.argv:
    sys.exit("qemu: no such machine")
threading.Thread(target=qmp, args=(listen("unix:([^,]+)"), "resets" in sys.argv), daemon=True).start()
agent(listen("socket,id=agent,path=([^,]+)"), "resets" in sys.argv)
