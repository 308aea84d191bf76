"""Registers and models of Dynamixel X servos, against the model files of ROBOTIS' own SDK."""

from __future__ import annotations

from pathlib import Path

import pytest

from drivers.dynamixel import x
from drivers.servos.registers import Register, names_of

REGISTERS = {name: r for name, r in vars(x).items() if isinstance(r, Register)}
SDK_NAMES = {
    "MODEL": "Model Number",
    "FIRMWARE": "Firmware Version",
    "ID": "ID",
    "MODE": "Operating Mode",
    "SECONDARY_ID": "Secondary(Shadow) ID",
    "PROTOCOL": "Protocol Type",
    "RETURN_DELAY": "Return Delay Time",
    "MAX_TEMPERATURE": "Temperature Limit",
    "MAX_VOLTAGE": "Max Voltage Limit",
    "MIN_VOLTAGE": "Min Voltage Limit",
    "PWM_LIMIT": "PWM Limit",
    "MAX_POSITION": "Max Position Limit",
    "MIN_POSITION": "Min Position Limit",
    "LED": "LED",
    "RESPONSE_LEVEL": "Status Return Level",
    "REGISTERED": "Registered Instruction",
    "HARDWARE_ERROR": "Hardware Error Status",
    "FEEDFORWARD_2": "Feedforward 2nd Gain",
    "FEEDFORWARD_1": "Feedforward 1st Gain",
    "GOAL_PWM": "Goal PWM",
    "PRESENT_PWM": "Present PWM",
    "PRESENT_VOLTAGE": "Present Input Voltage",
    "BAUD": "Baud Rate",
    **{f"{kind}_{gain}": f"{kind.title()} {gain} Gain" for kind in ("POSITION", "VELOCITY") for gain in "PID"},
}
"""Where the SDK's name is not ours with capitals."""
WITHOUT_FILE = {"xw430-t200"}
"""Models of the e-manual that the SDK has no number for."""

sdk = pytest.importorskip("dynamixel_easy_sdk", reason="dynamixel-sdk is not installed")
FILES = Path(sdk.__file__).parent / "control_table"


def rows(file: str) -> list[list[str]]:
    return [line.split("\t") for line in (FILES / file).read_text(encoding="utf-8").splitlines()]


def table(file: str) -> dict[str, tuple[int, int]]:
    """Address and size of every register of a model, by the SDK's name."""
    return {row[2]: (int(row[0]), int(row[1])) for row in rows(file) if len(row) == 3 and row[0].isdigit()}


def test_registers_do_not_overlap() -> None:
    taken = [address for r in REGISTERS.values() for address in range(r.address, r.address + r.size)]
    assert len(taken) == len(set(taken)) > 90


@pytest.mark.parametrize("model", sorted(set(x.MODELS) - WITHOUT_FILE))
def test_addresses_sizes_and_numbers_are_the_sdks(model: str) -> None:
    numbers = {row[1]: int(row[0]) for row in rows("dynamixel.model") if row[0].isdigit()}
    file = model.replace("-", "_") + ".model"
    assert x.MODELS[model].number == numbers[file]
    theirs = table(file)
    absent = set()
    for name, register in REGISTERS.items():
        there = theirs.get(SDK_NAMES.get(name, name.replace("_", " ").title()))
        if there is None:
            absent.add(name)
        else:
            assert there == (register.address, register.size), name
    without_current = (
        {"CURRENT_LIMIT", "GOAL_CURRENT", "PRESENT_CURRENT"} if x.MODELS[model].current_a is None else set()
    )
    assert absent - {"LED"} == without_current, "XW servos have no LED"


def test_models_have_numbers_of_their_own() -> None:
    numbers = [model.number for model in x.MODELS.values()]
    assert len(set(numbers)) == len(numbers)


def test_a_turn_a_minute_is_what_velocity_says() -> None:
    sdk_rad_s = 0.0239691227  # the e-manual has rounded 0.2289 turns a minute to 0.229
    assert x.PRESENT_VELOCITY.scale == pytest.approx(sdk_rad_s, rel=1e-3)


def test_hardware_errors_are_named_and_other_bits_are_none() -> None:
    assert names_of(x.TEMPERATURE | x.OVERLOAD, x.FAULTS) == "too hot, overload"
    assert names_of(0x02, x.FAULTS) == ""  # bit 1 is not used
