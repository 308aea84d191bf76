"""Arrays that another process sees, and keeps when the one that made them has gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np

from edge_runtime.arena import Arena, seen


def test_whoever_has_descriptor_and_layout_sees_the_same_arrays() -> None:
    arena = Arena("test")
    made = [arena.array("a", (3, 2), np.float64), arena.array("b", (5,), np.int8), arena.array("none", (0,), np.int64)]
    layout = json.loads(json.dumps(arena.layout))
    found = seen(os.dup(arena.descriptor), layout)
    made[0][1] = (1.5, -2.5)
    made[1][:] = range(5)
    assert found["a"].tolist() == [[0, 0], [1.5, -2.5], [0, 0]]
    assert found["b"].tolist() == [0, 1, 2, 3, 4]
    assert found["none"].size == 0
    arena.close()
    arena.close()
    made[0][0, 0] = 7.0
    assert found["a"][0, 0] == 7.0, "the arrays outlive the descriptor"


def test_what_a_killed_process_has_written_is_still_there() -> None:
    arena = Arena("test")
    array = arena.array("a", (4,), np.int64)
    code = (
        "import json, os, sys; from edge_runtime.arena import seen;"
        "d, layout = json.loads(sys.argv[1]); seen(d, layout)['a'][:] = 9; os.kill(os.getpid(), 9)"
    )
    told = json.dumps([arena.descriptor, arena.layout])
    ended = subprocess.run([sys.executable, "-c", code, told], pass_fds=(arena.descriptor,), check=False)
    assert ended.returncode == -9
    assert array.tolist() == [9, 9, 9, 9]
    arena.close()
