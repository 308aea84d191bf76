"""Orders: one after another, but a stop is done at once and what waited before it is not."""

from __future__ import annotations

import pytest

from edge_runtime.link import Order
from edge_runtime.orders import Orders
from edge_runtime.states import Command
from tests.edge_runtime.fakes import Rig, prompt, robot


def given(*commands: Command) -> tuple[Orders, list[Order], list[tuple[str, str]]]:
    events: list[tuple[str, str]] = []
    orders, each = Orders(lambda name, cause: events.append((name, cause))), [Order(command) for command in commands]
    for order in each:
        orders.append(order)
    return orders, each, events


def taken(orders: Orders) -> list[Command]:
    return [order.command for order in iter(orders.take, None)]


def test_first_come_first_done() -> None:
    orders, _, events = given(Command.ARM, Command.TASK, Command.DONE)
    assert taken(orders) == [Command.ARM, Command.TASK, Command.DONE]
    assert events == []


@pytest.mark.parametrize("urgent", [Command.STOP, Command.ESTOP])
def test_a_stop_is_first_and_what_came_before_it_is_refused_but_not_what_came_after(urgent: Command) -> None:
    orders, each, events = given(Command.ARM, Command.TASK, urgent, Command.RESET)
    assert taken(orders) == [urgent, Command.RESET]
    assert [order.answer for order in each] == [
        f"arm is not done: {urgent.value} came after it",
        f"task is not done: {urgent.value} came after it",
        None,
        None,
    ]
    assert events == [("refused", order.answer) for order in each[:2]]


def test_no_stop_is_refused_for_another() -> None:
    orders, _, events = given(Command.ESTOP, Command.STOP, Command.STOP)
    orders.refuse("e-stop left was pressed")
    assert taken(orders) == [Command.ESTOP, Command.STOP, Command.STOP]
    assert events == []


def test_an_e_stop_does_not_wait_behind_orders_that_block_for_seconds() -> None:
    rig = Rig(robot())
    rig.run_task()
    orders = [Order(Command.TASK, prompt("x")) for _ in range(15)]
    for order in (*orders, stop := Order(Command.ESTOP)):
        rig.loop.orders.append(order)
    rig.tick()
    assert (rig.mode, stop.answer) == ("HOLD", "")
    assert {order.answer for order in orders} == {"task is not done: estop came after it"}
