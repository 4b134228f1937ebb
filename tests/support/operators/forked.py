"""Runs `nest-events` in a process that is forked from one in which everything is imported.

The server is multiprocessing's own. It imports, and does nothing else: no channel is open and no thread runs when it
forks, which gRPC would not survive.
"""

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NoReturn

import anyio
import anyio.to_thread

PRELOADED: Final = [
    "worker.operators.run_command",
    "worker.operators.account",
    "worker.operators.forward",
    "worker.operators.reconcile",
    "worker.operators.dead_letters.listing",
    "worker.operators.dead_letters.replay",
    "worker.operators.dead_letters.discard",
    "worker.operators.doctor.diagnosis",
    "worker.operators.events.trace",
    "worker.operators.events.logged_event",
    "worker.operators.events.tail_lines",
    "worker.operators.state.watch",
]

# multiprocessing would pass over a module that is gone, and each command would import again.
assert all(find_spec(module) for module in PRELOADED)

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(PRELOADED)


async def run_forked(
    arguments: Sequence[str], environment: Mapping[str, str], *, stdin: str, cwd: Path, seconds: float
) -> tuple[int, str, str]:
    """Exit code, standard output and standard error.

    Raises:
        TimeoutError: it had not ended in time, and was killed.
    """
    with tempfile.TemporaryDirectory() as folder:
        ends = Path(folder)
        (ends / "in").write_text(stdin)
        process = _context.Process(target=_command, args=(list(arguments), dict(environment), ends, cwd))

        def start_and_wait() -> None:
            process.start()
            process.join(seconds)

        try:
            await anyio.to_thread.run_sync(start_and_wait)
            if process.exitcode is None:
                raise TimeoutError(f"nest-events {' '.join(arguments)}: not ended after {seconds:g} s")
            return process.exitcode, (ends / "out").read_text(), (ends / "err").read_text()
        finally:
            if process.pid is not None and process.is_alive():
                process.kill()
                process.join()


def _command(arguments: list[str], environment: dict[str, str], ends: Path, cwd: Path) -> NoReturn:
    for number, name in enumerate(("in", "out", "err")):
        os.dup2(os.open(ends / name, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT), number)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - multiprocessing has replaced it
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    from worker.operators.cli import app  # noqa: PLC0415 - in the child alone

    app(args=arguments, prog_name="nest-events")
    raise AssertionError("a command ends with SystemExit")
