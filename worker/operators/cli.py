"""`nest-events` as a Typer app, put together from `commands`."""

import gc
import inspect
from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated, Any

import typer

from worker.operators.commands.account import account
from worker.operators.commands.complaints import list_warnings
from worker.operators.commands.console import console
from worker.operators.commands.dead_letters import discard_letters, list_letters, replay_letters, show_letter
from worker.operators.commands.doctor import doctor
from worker.operators.commands.erase import erase
from worker.operators.commands.forward import forward
from worker.operators.commands.log import log
from worker.operators.commands.reconcile import reconcile
from worker.operators.commands.rules import add_rule, audit, list_rules, pause, probe, remove_rule, resume
from worker.operators.commands.status import status
from worker.operators.commands.tail import tail
from worker.operators.commands.trace import trace
from worker.operators.commands.watch import watch
from worker.operators.exit_codes import EXPLAINED

app = typer.Typer(
    name="nest-events",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Plain text: importing rich takes as long as everything else that help needs.
    rich_markup_mode=None,
    # Every command inherits these names.
    context_settings={"help_option_names": ["-h", "--help"]},
    help=f"Find out what became of events, act on those that go wrong, and replay dead letters.\n\n{EXPLAINED}",
    epilog="Settings come from the environment, like the worker's: deploy/settings.env lists them.",
)


def _show_version(*, is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"nest-events {version('event-logging')}")
        raise typer.Exit


@app.callback()
def options(
    *,
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=lambda value: _show_version(is_asked=value), help="Show the version."
        ),
    ] = False,
) -> None:
    del show_version  # its callback has acted on it


def _add(group: typer.Typer, name: str, command: Callable[..., Any]) -> None:
    """Add a command, listed with the whole first line of its docstring; Typer's own summary would be cut."""
    first_line = (inspect.getdoc(command) or "").partition("\n")[0]
    group.command(name, short_help=first_line)(command)


dead_letters = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="List, show, replay and discard dead letters."
)
for name, command in (
    ("list", list_letters),
    ("show", show_letter),
    ("replay", replay_letters),
    ("discard", discard_letters),
):
    _add(dead_letters, name, command)

rules = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Refuse, store only, hold or dead-letter events.")
for name, command in (("add", add_rule), ("list", list_rules), ("remove", remove_rule)):
    _add(rules, name, command)

for name, command in (
    ("status", status),
    ("watch", watch),
    ("doctor", doctor),
    ("tail", tail),
    ("account", account),
    ("trace", trace),
    ("warnings", list_warnings),
):
    _add(app, name, command)
app.add_typer(dead_letters, name="dead-letters")
app.add_typer(rules, name="rules")
for name, command in (
    ("pause", pause),
    ("resume", resume),
    ("probe", probe),
    ("audit", audit),
    ("forward", forward),
    ("erase", erase),
    ("reconcile", reconcile),
    ("log", log),
    ("console", console),
):
    _add(app, name, command)


def main() -> None:
    """`nest-events`."""
    gc.disable()  # while the command imports what it needs; `run_command` turns it on again
    app()
