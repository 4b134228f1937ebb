"""The load generator wrk: a closed loop in C, so that the client is not the bottleneck.

wrk corrects its percentiles for coordinated omission: an answer that took far longer than the mean also counts for the
calls that its connection would have made meanwhile. It does so for every way alike.
"""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio

from tests.bench.errors import MeasurementError, MissingLoadGeneratorError

SCRIPT: Final = Path(__file__).with_name("post.lua")

TIMEOUT_SECONDS: Final = 60
"""wrk's default of 2 s would count slow answers as failures, while their latency is to be measured."""

END_SECONDS: Final = 10.0
"""The time beyond the load for wrk to start and end. It waits for no answer when its time is up."""

_MICROSECONDS_PER_MS: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The figures of a run of wrk. All answers were successes."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    max_ms: float

    @property
    def rate(self) -> float:
        """Requests answered a second."""
        return self.requests / self.seconds


def wrk_program(environ: dict[str, str] | None = None) -> str:
    """The path of wrk.

    Raises:
        MissingLoadGeneratorError: It is not installed.
    """
    program = shutil.which("wrk", path=(os.environ if environ is None else environ).get("PATH", ""))
    if program is None:
        raise MissingLoadGeneratorError
    return program


async def run_wrk(url: str, body: Path, *, connections: int, seconds: int) -> Load:
    """POST the file's content repeatedly on `connections`.

    Raises:
        MeasurementError: wrk failed, or not every answer was a success.
        MissingLoadGeneratorError: wrk is not installed.
    """
    options = [f"-c{connections}", "-t1", f"-d{seconds}s", f"--timeout={TIMEOUT_SECONDS}s"]
    with anyio.fail_after(seconds + END_SECONDS):
        done = await anyio.run_process(
            [wrk_program(), *options, "-s", str(SCRIPT), url, "--", str(body)], check=False, stderr=subprocess.STDOUT
        )
    return parse(done.stdout.decode(errors="replace"), returncode=done.returncode)


def parse(output: str, *, returncode: int = 0) -> Load:
    """The figures in wrk's last line, which the script printed.

    Raises:
        MeasurementError: as `run_wrk`.
    """
    last = output.rstrip().rpartition("\n")[2]
    if returncode != 0 or not last.startswith("{"):
        raise MeasurementError(f"wrk failed ({returncode}): {output.strip()[-500:]}")
    said = json.loads(last)
    if said["failed"]:
        raise MeasurementError(
            f"{said['failed']} of {said['requests']} answers were no success; the first: {said['first_failure']}"
        )
    if said["socket_errors"] or said["timeouts"]:
        raise MeasurementError(f"{said['socket_errors']} socket errors and {said['timeouts']} timeouts")
    if not said["requests"]:
        raise MeasurementError("no call was answered")
    return Load(
        requests=said["requests"],
        seconds=said["duration_us"] / 1e6,
        p50_ms=said["p50_us"] / _MICROSECONDS_PER_MS,
        p99_ms=said["p99_us"] / _MICROSECONDS_PER_MS,
        max_ms=said["max_us"] / _MICROSECONDS_PER_MS,
    )
