"""Runs `nest-events` as an operator does: as a process of its own.

`nest_events` forks it from a server that has its imports done (`forked.py`), which saves two seconds of a command's
start. `start_nest_events` starts it from nothing, for tests that send signals or close its output.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import anyio

from deploy.local.stack import REPOSITORY
from tests.support.operators.forked import run_forked

COMMAND = [
    sys.executable,
    "-c",
    "import sys; sys.argv[0] = 'nest-events'; from worker.operators.cli import main; main()",
]
SECONDS = 40.0


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def audit(self) -> dict[str, Any]:
        """The audit line; there must be exactly one."""
        (line,) = [line for line in self.err.splitlines() if '"operator_action"' in line]
        found: dict[str, Any] = json.loads(line)
        return found


def inherited(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without any setting of the service, so that only the given ones count."""
    kept = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "USER", "LANG", "TMPDIR")}
    return {**kept, "PYTHONPATH": str(REPOSITORY), **environment}


async def nest_events(environment: Mapping[str, str], *arguments: str, stdin: str = "") -> Ran:
    code, out, err = await run_forked(arguments, inherited(environment), stdin=stdin, cwd=REPOSITORY, seconds=SECONDS)
    return Ran(code, out, err)


async def nest_events_from_nothing(environment: Mapping[str, str], *arguments: str) -> Ran:
    """Runs it with all its imports, as a shell does: for measuring."""
    with anyio.fail_after(SECONDS):
        done = await anyio.run_process([*COMMAND, *arguments], check=False, env=inherited(environment), cwd=REPOSITORY)
    return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())


def start_nest_events(environment: Mapping[str, str], *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*COMMAND, *arguments],
        env=inherited(environment),
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
