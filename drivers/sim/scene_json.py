"""A scene as JSON, so that the cameras can be rendered in a process of their own."""

from __future__ import annotations

from typing import Any

import numpy as np

from drivers.sim.board import Board
from drivers.sim.cups import Cup
from drivers.sim.render import Scene


def pack(scene: Scene) -> dict[str, Any]:
    """Everything a camera can see, as numbers and strings. Floats survive the journey exactly."""
    cups = [vars(cup) | {"position": cup.position.tolist(), "velocity": cup.velocity.tolist()} for cup in scene.cups]
    board = None if scene.board is None else vars(scene.board)
    return {"seed": scene.seed, "time_ms": scene.time_ms, "q": scene.q.tolist(), "cups": cups, "board": board}


def unpack(packed: dict[str, Any]) -> Scene:
    """The scene that was packed."""
    cups = tuple(
        Cup(**cup | {"position": np.array(cup["position"]), "velocity": np.array(cup["velocity"])})
        for cup in packed["cups"]
    )
    board = None if packed["board"] is None else Board(**packed["board"])
    return Scene(packed["seed"], packed["time_ms"], np.array(packed["q"]), cups, board)
