"""Fault points: off unless asked for, exact, and never on Cloud Run."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from shared.errors import SettingsError
from shared.process.fault_points import EXIT_CODE, InjectedFaultError, enable_fault_points, fault_point
from shared.process.settings import CLOUD_RUN_VARIABLES


@pytest.fixture(autouse=True)
def off_afterwards() -> Iterator[None]:
    yield
    enable_fault_points({})


def test_a_point_does_nothing_unless_it_is_asked_for() -> None:
    enable_fault_points({"FAULT_POINTS": "before_send=raise"})

    fault_point("after_commit")


def test_raises_at_every_hit() -> None:
    enable_fault_points({"FAULT_POINTS": "after_commit=raise"})

    for _ in range(2):
        with pytest.raises(InjectedFaultError):
            fault_point("after_commit")


def test_raises_at_one_hit_only_where_one_is_named() -> None:
    enable_fault_points({"FAULT_POINTS": "after_commit=raise@2,before_send=raise"})

    fault_point("after_commit")
    with pytest.raises(InjectedFaultError):
        fault_point("after_commit")
    fault_point("after_commit")


def test_exits_as_a_kill_does() -> None:
    program = (
        "from shared.process.fault_points import enable_fault_points, fault_point\n"
        "enable_fault_points({'FAULT_POINTS': 'after_pull=exit'})\n"
        "try: fault_point('after_pull')\n"
        "finally: print('cleaned up')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, text=True)

    assert done.returncode == EXIT_CODE
    assert done.stdout == ""


@pytest.mark.parametrize("variable", CLOUD_RUN_VARIABLES)
def test_cannot_be_turned_on_on_cloud_run(variable: str) -> None:
    with pytest.raises(SettingsError, match="Cloud Run"):
        enable_fault_points({"FAULT_POINTS": "after_commit=raise", variable: "x"})

    fault_point("after_commit")


@pytest.mark.parametrize(
    "text", ["after_lunch=raise", "after_commit", "after_commit=explode", "after_commit=pause:soon", "a=raise@x"]
)
def test_refuses_what_it_does_not_know(text: str) -> None:
    with pytest.raises(SettingsError):
        enable_fault_points({"FAULT_POINTS": text})
