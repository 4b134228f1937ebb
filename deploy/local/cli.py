"""`python -m deploy.local up|run|demo`: the whole stack on this machine, for programs and for people."""

import os
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Final

import anyio
import typer

from deploy.local import terminal
from deploy.local.demo import run_demo
from deploy.local.errors import LocalStackError
from deploy.local.provision import StackNames
from deploy.local.stack import REPOSITORY, Stack, StackOptions, running_stack
from deploy.local.watching import pass_on_logs, report_deaths
from shared.cancellation import anyio_cancellation
from shared.process.signals import on_termination

DEFAULT_PORT: Final = 8080
"""Of `run`, for people. `up` takes any free port by default: programs read it from the line of JSON."""

app = typer.Typer(add_completion=False, help=__doc__, pretty_exceptions_enable=False)

IngressPort = Annotated[int, typer.Option("--ingress-port", min=0, max=65535, help="0 takes any free port.")]
Workers = Annotated[int, typer.Option("--workers", min=0, max=16, help="Worker processes.")]


@app.command()
def up(
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON on stdout once all is ready.")
    ] = False,
    workers: Workers = 1,
    ingress_port: IngressPort = 0,
) -> None:
    """Start the stack and serve until SIGINT or SIGTERM; logs on stderr."""

    async def serve(stack: Stack) -> int:
        print(stack.as_json() if as_json else terminal.addresses(stack), flush=True)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pass_on_logs, stack)
            tasks.start_soon(report_deaths, stack)
        return 0

    _with_stack(serve, StackOptions(ingress_port=ingress_port, workers=workers))


@app.command()
def run(*, workers: Workers = 1, ingress_port: IngressPort = DEFAULT_PORT) -> None:
    """Start the stack, log one event, show its journey, serve until Ctrl-C."""

    async def serve(stack: Stack) -> int:
        await terminal.show_first_event(stack)
        await report_deaths(stack)
        return 0

    greeting = "Starting: emulators, schema, topics, a stand-in for Statsig, ingress, worker ..."
    options = StackOptions(ingress_port=ingress_port, workers=workers, log_level="DEBUG")
    _with_stack(serve, options, greeting=greeting)


@app.command()
def demo(*, workers: Workers = 1) -> None:
    """Log 200 events, wait until each is stored and delivered, print the counts."""

    async def count(stack: Stack) -> int:
        result = await run_demo(stack)
        terminal.show_demo(result)
        return 1 if result.problems else 0

    # Names of its own: emulators that were running already may hold another stack's events.
    names = StackNames.unique("demo")
    _with_stack(count, StackOptions(workers=workers), names=names, greeting="Starting the stack ...")


def _with_stack(
    work: Callable[[Stack], Awaitable[int]],
    options: StackOptions,
    *,
    names: StackNames | None = None,
    greeting: str = "",
) -> None:
    """Exit with the work's result, with 0 after SIGINT or SIGTERM, with 2 if the stack cannot run."""
    run_dir = REPOSITORY / ".local" / f"run-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    run_dir.mkdir(parents=True)
    try:
        code = anyio.run(_until_signal, work, running_stack(run_dir, options, names=names), greeting)
    except LocalStackError as error:
        print(f"deploy.local: {error}", file=sys.stderr)
        code = 2
    raise typer.Exit(code)


async def _until_signal(
    work: Callable[[Stack], Awaitable[int]], starting: AbstractAsyncContextManager[Stack], greeting: str
) -> int:
    code = 0
    with anyio.CancelScope() as scope:
        async with on_termination(lambda _: scope.cancel()):
            if greeting:
                terminal.say(greeting)
            async with anyio_cancellation(), starting as stack:
                code = await work(stack)
    return code
