"""What programs must do on every backend. Subclass `ProgramContract` beside `BackendContract`: `engine` is the same.

What is expected is told in numpy here, by itself: the steps' own CPU code is a subject like any other.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_runtime.backends.base import Backend, Graph
from edge_runtime.backends.program.steps import NONE, Add, Choose, Copy, Remember, Run, Step
from edge_runtime.backends.program.tensor import Tensor
from tests.edge_runtime.backends.contract import BOOL, FLOAT, INT64, node, write

Array = np.ndarray[Any, Any]
STEPS = 4
FEW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def put(backend: Backend, values: Array) -> Tensor:
    """Memory of steps that holds `values`; it may be written."""
    found = backend.private(values.shape, values.dtype.type)
    backend.program([Copy(backend.constant(values), found)]).run()
    return found


def get(backend: Backend, tensor: Tensor) -> Array:
    """What stands in `tensor`."""
    seen = backend.shared(tensor.shape, tensor.dtype.type)
    backend.program([Copy(tensor, seen)]).run()
    return seen.host.copy()


class ProgramContract:
    """Steps by themselves, and an inference of two graphs as one program."""

    engine: Callable[[int], Backend]

    def backend(self) -> Backend:
        return type(self).engine(1)

    def test_new_memory_is_zero(self) -> None:
        backend = self.backend()
        assert (get(backend, backend.private((3, 5), np.float32)) == 0.0).all()
        assert (backend.shared((7,), np.int64).host == 0).all()

    def test_rows_of_a_tensor_are_its_own_memory(self) -> None:
        backend, table = self.backend(), np.arange(12, dtype=np.float32).reshape(4, 3)
        target = put(backend, np.zeros((2, 6), np.float32))
        rows = backend.constant(table)
        backend.program([Copy(rows[2], target[0][3:]), Copy(rows[1:3], target[1])]).run()
        assert get(backend, target).tolist() == [[0, 0, 0, 6, 7, 8], [3, 4, 5, 6, 7, 8]]

    @pytest.mark.parametrize("at", [4, slice(2, 2), slice(0, 4, 2), slice(4, 9)])
    def test_there_are_no_rows_but_its_own_in_a_row(self, at: int | slice) -> None:
        with pytest.raises(AssertionError):
            self.backend().private((4, 3), np.float32)[at]

    @FEW
    @given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=40), st.floats(-3, 3, width=32))
    def test_a_product_is_rounded_before_it_is_added(self, numbers: list[float], times: float) -> None:
        """A fused operation rounds once, and would be another policy by its last bits."""
        backend, change = self.backend(), np.array(numbers, np.float32)
        with np.errstate(all="ignore"):
            x = change[::-1] / np.float32(3)
            wanted = x + change * np.float32(times)
        target = put(backend, x)
        backend.program([Add(target, put(backend, change), np.float32(times))]).run()
        assert get(backend, target).tobytes() == wanted.tobytes()

    @pytest.mark.parametrize("dtype", [np.float32, np.float16])
    @pytest.mark.parametrize("count", [0, 2])
    def test_a_token_is_remembered_where_the_count_says(self, dtype: type[np.generic], count: int) -> None:
        backend, rng = self.backend(), np.random.default_rng(count)
        old, new = (rng.standard_normal((2, 1, 3, n, 5)).astype(dtype) for n in (6, 1))
        cache, mask, at = put(backend, old), put(backend, np.zeros((1, 6), np.bool_)), put(backend, np.array([count]))
        backend.program([Remember(put(backend, new), cache, mask, at, 3)]).run()
        old[:, :, :, 3 + count] = new[:, :, :, 0]
        assert get(backend, cache).tobytes() == old.tobytes()
        assert get(backend, mask).tolist() == [[slot == 3 + count for slot in range(6)]]
        assert get(backend, at).tolist() == [count]

    @pytest.mark.parametrize("count", [-4, 3, 2**40])
    def test_no_place_outside_the_cache_is_written(self, count: int) -> None:
        backend = self.backend()
        cache, mask = put(backend, np.ones((1, 1, 1, 6, 2), np.float32)), put(backend, np.zeros((1, 6), np.bool_))
        new = put(backend, np.full((1, 1, 1, 1, 2), 7.0, np.float32))
        backend.program([Remember(new, cache, mask, put(backend, np.array([count])), 3)]).run()
        assert (get(backend, cache) == 1.0).all()
        assert not get(backend, mask).any()

    @FEW
    @given(st.lists(st.floats(width=32), min_size=1, max_size=700), st.integers(0, 2))
    def test_the_highest_logit_names_the_token(self, numbers: list[float], count: int) -> None:
        logits = np.array([numbers], np.float32)
        finite = bool(np.isfinite(logits).all())
        place = int(np.argmax(logits)) if finite else 0
        assert self.chosen(logits, count) == (100 + place, [100 + place if finite else NONE], count + 1)

    @pytest.mark.parametrize("at", [0, 1, 254, 255, 256, 511, 2047])
    def test_of_equal_logits_the_first_is_the_highest(self, at: int) -> None:
        logits = np.full((1, 2048), -2.0, np.float32)
        logits[0, at:] = -0.0
        logits[0, -1] = 0.0
        assert self.chosen(logits, 0) == (100 + at, [100 + at], 1)

    @pytest.mark.parametrize("count", [-1, 3])
    def test_nothing_is_written_where_there_is_no_room(self, count: int) -> None:
        assert self.chosen(np.ones((1, 4), np.float32), count) == (0, [], count)

    def test_nothing_is_written_behind_a_token_that_could_not_be_chosen(self) -> None:
        backend, logits = self.backend(), np.array([[1.0, 3.0, 2.0]], np.float32)
        bad, good = put(backend, np.full((1, 3), np.nan, np.float32)), put(backend, logits)
        written, ids = backend.shared((4,), np.int64), backend.constant(np.arange(7, 10))
        token, at = put(backend, np.zeros((1, 1), np.int64)), put(backend, np.zeros(1, np.int64))
        steps = [Choose(given, ids, token, written, at) for given in (good, bad, good)]
        backend.program(steps).run()
        assert written.host.tolist() == [8, NONE, 0, 0]
        assert get(backend, at).tolist() == [2]

    def chosen(self, logits: Array, count: int) -> tuple[int, list[int], int]:
        """The token, what was written beside zeros, and the count afterwards."""
        backend = self.backend()
        written, ids = backend.shared((3,), np.int64), backend.constant(np.arange(100, 100 + logits.size))
        token, at = put(backend, np.zeros((1, 1), np.int64)), put(backend, np.array([count]))
        backend.program([Choose(put(backend, logits), ids, token, written, at)]).run()
        found = [int(number) for number in written.host if number]
        assert not found or written.host[count] == found[0]
        return int(get(backend, token)[0, 0]), found, int(get(backend, at)[0])

    @pytest.fixture
    def flow(self, tmp_path: Path) -> tuple[Backend, Graph, Graph]:
        """keys = twice the frame; velocity = keys·x + cond."""
        row = (FLOAT, [1, 4])
        prefix = write(
            tmp_path / "prefix.onnx", [node("Add", "frame", "frame", out="keys")], {"frame": row}, {"keys": row}
        )
        nodes = [node("Mul", "keys", "x", out="product"), node("Add", "product", "cond", out="velocity")]
        step = write(tmp_path / "step.onnx", nodes, {"keys": row, "x": row, "cond": row}, {"velocity": row})
        backend = self.backend()
        first = backend.load(prefix)
        return backend, first, backend.load(step, {"keys": (first, "keys")}, ("x", "cond", "nothing that it has"))

    def steps(self, flow: tuple[Backend, Graph, Graph], table: Array, x: Tensor) -> list[Step]:
        backend, prefix, step = flow
        rows, own = backend.constant(table), step.tensor("x")
        steps: list[Step] = [Run("prefix", prefix), Copy(x, own)]
        for k in range(STEPS):
            steps += [Copy(rows[k : k + 1], step.tensor("cond")), Run("step", step)]
            steps += [Add(own, step.tensor("velocity"), np.float32(-0.25))]
        return [*steps, Copy(own, x)]

    def test_an_inference_is_one_program_that_runs_again_and_again(self, flow: tuple[Backend, Graph, Graph]) -> None:
        backend, prefix, _ = flow
        rng = np.random.default_rng(5)
        table, x = rng.standard_normal((STEPS, 4)).astype(np.float32), backend.shared((1, 4), np.float32)
        program = backend.program(self.steps(flow, table, x))
        for _ in range(3):
            frame, noise = rng.standard_normal((2, 1, 4)).astype(np.float32)
            prefix.inputs["frame"][:] = frame
            x.host[:] = noise
            program.run()
            for k in range(STEPS):
                noise = noise + (2 * frame * noise + table[k]) * np.float32(-0.25)
            assert x.host.tobytes() == noise.tobytes()
            assert (prefix.outputs["keys"] == 2 * frame).all()

    def test_whoever_watches_sees_each_graph_when_it_has_run(self, flow: tuple[Backend, Graph, Graph]) -> None:
        backend, prefix, _ = flow
        x, seen = backend.shared((1, 4), np.float32), list[tuple[str, float]]()
        program = backend.program(self.steps(flow, np.ones((STEPS, 4), np.float32), x))
        prefix.inputs["frame"][:] = 0.5
        x.host[:] = 0.0
        program.run(watch=lambda name, graph: seen.append((name, float(next(iter(graph.outputs.values())).flat[0]))))
        watched, velocity = x.host.copy(), 1.0
        assert seen[0] == ("prefix", 1.0)
        for name, found in seen[1:]:
            assert (name, found) == ("step", velocity)
            velocity *= 0.75
        x.host[:] = 0.0
        program.run()
        assert x.host.tobytes() == watched.tobytes()

    def test_a_program_runs_as_often_as_it_is_asked_to(self) -> None:
        backend = self.backend()
        total, one = put(backend, np.zeros(3, np.float32)), put(backend, np.ones(3, np.float32))
        program = backend.program([Add(total, one, np.float32(1))])
        assert get(backend, total).tolist() == [0.0] * 3
        program.run(times=5)
        assert get(backend, total).tolist() == [5.0] * 3

    def test_what_only_steps_write_need_not_be_among_the_inputs(self, tmp_path: Path) -> None:
        side = {"mask": (BOOL, [1, 4]), "token": (INT64, [1, 1])}
        out = {"none": (BOOL, [1, 4]), "same": (INT64, [1, 1])}
        nodes = [node("Not", "mask", out="none"), node("Identity", "token", out="same")]
        backend = self.backend()
        graph = backend.load(write(tmp_path / "g.onnx", nodes, side, out), inner=("token",))
        assert {"mask"} <= set(graph.inputs) <= {"mask", "token"}
        backend.program([Copy(backend.constant(np.array([[2**40]])), graph.tensor("token")), Run("g", graph)]).run()
        assert graph.outputs["same"].tolist() == [[2**40]]
        assert graph.outputs["none"].tolist() == [[True] * 4]
