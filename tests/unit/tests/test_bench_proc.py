"""What the bench reads of a process: its whole CPU time, and its memory."""

import os
import subprocess
import sys
import threading
import time

import anyio
import pytest

from tests.bench.errors import MeasurementError
from tests.bench.proc import (
    available_share,
    cpu_seconds,
    cpu_seconds_at_rest,
    parse_available_share,
    parse_resident_mib,
    parse_state,
    resident_mib,
)

STATUS = "Name:\tpython\nState:\tS (sleeping)\nVmPeak:\t  250000 kB\nVmRSS:\t  129984 kB\nThreads:\t21\n"
MEMINFO = "MemTotal:       24684000 kB\nMemFree:        21000000 kB\nMemAvailable:   12342000 kB\n"


def burn(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def test_the_clock_of_a_process_is_its_own_to_the_microsecond() -> None:
    before = time.process_time()
    read = cpu_seconds(os.getpid())
    after = time.process_time()

    assert before <= read <= after


def test_threads_that_have_ended_are_in_the_cpu_time() -> None:
    before = cpu_seconds(os.getpid())
    thread = threading.Thread(target=burn, args=(0.02,))
    thread.start()
    thread.join()

    assert cpu_seconds(os.getpid()) - before >= 0.02


async def test_a_process_at_rest_is_read_at_once_and_costs_next_to_nothing() -> None:
    async with await anyio.open_process([sys.executable, "-c", "input()"]) as idle:
        first = await cpu_seconds_at_rest(idle.pid)
        second = await cpu_seconds_at_rest(idle.pid)
        idle.kill()

    assert second - first < 0.01


async def test_a_process_that_is_busy_for_ever_fails_the_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.bench.proc.REST_SECONDS", 0.3)  # the usual patience is half a minute
    async with await anyio.open_process([sys.executable, "-c", "while True: pass"]) as busy:
        with pytest.raises(MeasurementError, match="still busy"):
            await cpu_seconds_at_rest(busy.pid)
        busy.kill()


def test_a_process_that_has_ended_fails_the_measure() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()

    with pytest.raises(MeasurementError, match="has ended"):
        cpu_seconds(ended.pid)
    with pytest.raises(MeasurementError, match="has ended"):
        resident_mib(ended.pid)


def test_resident_memory_is_the_line_of_that_name() -> None:
    assert parse_resident_mib(STATUS) == pytest.approx(126.94, abs=0.01)
    assert 5 < resident_mib(os.getpid()) < 5000


def test_the_state_is_behind_the_name_whatever_that_holds() -> None:
    assert parse_state("4711 (a (R) name) S 1 4711 4711 0 -1 4194560\n") == "S"
    assert parse_state("4711 (python) R 1 4711 4711 0 -1 4194560\n") == "R"


def test_a_zombie_has_no_memory_to_tell_of() -> None:
    with pytest.raises(ValueError, match="VmRSS"):
        parse_resident_mib("Name:\tpython\nState:\tZ (zombie)\n")


def test_what_is_available_is_a_share_of_all() -> None:
    assert parse_available_share(MEMINFO) == 0.5
    assert 0 < available_share() < 1
