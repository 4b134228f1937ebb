"""The process guard: ends our child processes once we are gone, however we ended.

The guard is a process of its own. It reads from a pipe which process groups and containers run, and at end of file it
ends those still on its list. Only we keep the other end open for longer than an instant, so end of file means that we
are gone, even by SIGKILL. The guard is POSIX sh: it starts in a millisecond and works on Linux and macOS alike.

Linux's PR_SET_PDEATHSIG was not chosen. It is tied to the parent thread (a child forked in a worker thread dies with
that thread), it reaches the child only (not emulator_main below gateway_main), and it needs code run between fork and
exec of a threaded process.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from subprocess import DEVNULL, STDOUT
from typing import Final, Self

import anyio
from anyio.abc import Process

# SIGTERM comes before SIGKILL because a Docker client passes only SIGTERM on to its container.
_GUARD: Final = r"""
trap '' HUP INT TERM
groups= containers=
without() { kept=; for each in $2; do [ "$each" = "$1" ] || kept="$kept $each"; done; echo "$kept"; }
while read -r mark id; do
  case $mark in
    +) groups="$groups $id" ;;
    -) groups=$(without "$id" "$groups") ;;
    ++) containers="$containers $id" ;;
    --) containers=$(without "$id" "$containers") ;;
  esac
done
for id in $groups; do kill -s TERM -- "-$id"; done
for id in $containers; do docker rm --force "$id"; done
[ -z "$groups" ] || sleep 1
for id in $groups; do kill -s KILL -- "-$id"; done
"""

# Standard input is the pipe to the guard. The shell puts its own process group on the list before it becomes the
# program (exec keeps the pid), so the program never runs unguarded; then it lets go of the pipe.
_LAUNCH: Final = 'echo "+ $$" >&0 && exec "$@" </dev/null'


class Guard:
    """Our end of the pipe to the guard process."""

    def __init__(self, process: Process, pipe: int) -> None:
        self._process = process
        self._pipe = pipe

    @classmethod
    async def start(cls) -> Self:
        reading, writing = os.pipe()
        try:
            with anyio.CancelScope(shield=True):
                process = await anyio.open_process(
                    ["/bin/sh", "-c", _GUARD], stdin=reading, stdout=DEVNULL, stderr=DEVNULL, start_new_session=True
                )
        except BaseException:
            os.close(writing)
            raise
        finally:
            os.close(reading)
        return cls(process, writing)

    async def spawn(self, argv: Sequence[str], env: Mapping[str, str], output: int | None) -> Process:
        """Start a program in a session of its own, with its process group on the guard's list.

        `output` is a file descriptor for stdout and stderr; None passes both through to our own.
        """
        return await anyio.open_process(
            ["/bin/sh", "-c", _LAUNCH, "sh", *argv],
            stdin=self._pipe,
            stdout=output,
            stderr=None if output is None else STDOUT,
            env=env,
            start_new_session=True,
        )

    def add_container(self, name: str) -> None:
        self._write(f"++ {name}")

    def remove_container(self, name: str) -> None:
        self._write(f"-- {name}")

    def remove_group(self, pid: int) -> None:
        self._write(f"- {pid}")

    def close(self) -> None:
        """Close the pipe: the guard ends what is still on its list (usually nothing), and then itself."""
        os.close(self._pipe)

    async def wait(self) -> None:
        await self._process.wait()

    def _write(self, line: str) -> None:
        try:
            os.write(self._pipe, f"{line}\n".encode())
        except BrokenPipeError:
            # The guard was killed. We still end every process ourselves, so this must not raise on the way there.
            logging.getLogger(__name__).warning("the process guard is gone")
