"""What `python -m ingress` and `python -m worker` set before any library is imported, and what is set after."""

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import gc, os, sys, types
stand_in = types.ModuleType("{role}.process")
stand_in.main = lambda: print(
    gc.isenabled(), os.environ.get("MIMALLOC_PURGE_DELAY"), "google.cloud" in sys.modules, sys.getswitchinterval()
)
sys.modules["{role}.process"] = stand_in
from {role}.__main__ import main
main()
"""


TERMINATED = """
import os, sys, types
stand_in = types.ModuleType("{role}.process")
stand_in.main = lambda: os.kill(os.getpid(), {number:d}) or print("went on")
sys.modules["{role}.process"] = stand_in
from {role}.__main__ import main
main()
"""


@pytest.mark.parametrize(
    ("role", "purge_delay", "switch_seconds"), [("ingress", "0", 0.0002), ("worker", "None", 0.005)]
)
def test_collector_allocator_and_switch_interval_are_set_before_a_library_is_imported(
    role: str, purge_delay: str, switch_seconds: float
) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(role=role)], capture_output=True, text=True, check=True)

    *others, seconds = done.stdout.split()
    assert others == ["False", purge_delay, "False"]
    assert float(seconds) == pytest.approx(switch_seconds)


@pytest.mark.parametrize("role", ["ingress", "worker"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_the_event_loop_handles_it_ends_the_process_in_order(role: str, number: signal.Signals) -> None:
    program = TERMINATED.format(role=role, number=number)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_tuning_turns_the_collector_on_again() -> None:
    program = "import gc; gc.disable(); from shared.process import garbage_collection as g; g.tune_garbage_collection()"
    done = subprocess.run(
        [sys.executable, "-c", f"{program}; print(gc.isenabled())"], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "True"
