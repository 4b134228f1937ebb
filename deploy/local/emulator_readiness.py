"""Whether an emulator answers: the check of one that should be running, the wait for one that was just started."""

from typing import Final

import anyio
import grpc

from deploy.local.emulator_kinds import EmulatorKind
from deploy.local.errors import PortInUseError, StartFailedError
from deploy.local.processes import ManagedProcess

_READY_SECONDS: Final = 30.0
"""For a started emulator to answer. About one is usual; a first start on a busy machine took ten."""

_PULL_SECONDS: Final = 600.0
"""As above in Docker, which may pull the image first: the one with the Pub/Sub emulator is above a gigabyte."""

_REACHABLE_SECONDS: Final = 5.0
"""For an emulator that should be running already."""

_ATTEMPT_SECONDS: Final = 0.5
"""For one call of many. Java's first one takes some 0.3 s on an idle machine."""

_PORT_TAKEN: Final = ("address already in use", "port is already allocated")
"""What Go, Java and Docker log. Java then keeps running without a port, so there is no exit code to go by."""


async def check_running(kind: EmulatorKind, host: str, channel: grpc.aio.Channel) -> None:
    """Call an emulator that its variable says is running.

    Raises:
        StartFailedError: It does not answer.
    """
    try:
        # A method without (de)serializers takes and returns bytes.
        await channel.unary_unary(kind.method)(kind.request, timeout=_REACHABLE_SECONDS)
    except grpc.aio.AioRpcError as error:
        raise StartFailedError(
            f"{kind.variable} is {host}, but no {kind.name} answers there "
            f"({error.code().name}): start it, or unset the variable to have one started"
        ) from error


async def wait_until_ready(kind: EmulatorKind, host: str, channel: grpc.aio.Channel, process: ManagedProcess) -> None:
    """Call a started emulator until it answers.

    Raises:
        PortInUseError: Its log says that another program has the port.
        StartFailedError: It ended, answered with an error, or did not answer in time; with the end of its log.
    """
    call = channel.unary_unary(kind.method)
    seconds = _READY_SECONDS if process.container is None else _PULL_SECONDS
    deadline = anyio.current_time() + seconds
    while anyio.current_time() < deadline:
        try:
            # Waits for the connection itself. Short, so that an end of the process is noticed between two calls.
            await call(kind.request, timeout=_ATTEMPT_SECONDS, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            if error.code() not in {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE}:
                raise StartFailedError(f"the {kind.name} answers {error.code().name}") from error
            _raise_if_failed(process, host)
        else:
            # The answer may have come from another program that has the port.
            return _raise_if_failed(process, host)
    raise StartFailedError(f"the {kind.name} did not answer in {seconds:g} s; {process.log_end()}")


def _raise_if_failed(process: ManagedProcess, host: str) -> None:
    log = process.log_text().lower()
    if any(words in log for words in _PORT_TAKEN):
        raise PortInUseError(f"the {process.name} could not listen on {host}: the port is taken; {process.log_end()}")
    if process.returncode is not None:
        raise StartFailedError(
            f"the {process.name} ended with {process.returncode} while starting; {process.log_end()}"
        )
