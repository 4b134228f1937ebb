"""Runs `nest-events` as an operator does: as a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import anyio

from deploy.local.stack import REPOSITORY

COMMAND = [sys.executable, "-c", "from worker.operators.cli import app; app(prog_name='nest-events')"]
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
        """The only audit line."""
        (line,) = [line for line in self.err.splitlines() if '"operator_action"' in line]
        found: dict[str, Any] = json.loads(line)
        return found


def inherited(environment: Mapping[str, str]) -> dict[str, str]:
    """Ours without any setting of the service, so that only the given ones count."""
    kept = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "USER", "LANG", "TMPDIR")}
    return {**kept, "PYTHONPATH": str(REPOSITORY), **environment}


async def nest_events(environment: Mapping[str, str], *arguments: str, stdin: str = "") -> Ran:
    with anyio.fail_after(SECONDS):
        done = await anyio.run_process(
            [*COMMAND, *arguments],
            input=stdin.encode(),
            check=False,
            env=inherited(environment),
            cwd=REPOSITORY,
        )
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
