"""`nest-events`: the operators' command. Each group of commands is a module; this one only puts them together."""

import typer

from worker.operators.account import account
from worker.operators.dead_letters_list import list_dead_letters
from worker.operators.dead_letters_replay import replay_dead_letters
from worker.operators.dead_letters_show import show_dead_letter
from worker.operators.doctor import doctor
from worker.operators.exits import EXPLAINED
from worker.operators.log import log
from worker.operators.reconcile import reconcile
from worker.operators.trace import trace
from worker.operators.watch import watch

app = typer.Typer(
    name="nest-events",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help=f"What became of events, and dead letters: look at them, replay them, count them.\n\n{EXPLAINED}",
    epilog="Settings come from the environment, as those of the worker: deploy/settings.env lists them.",
)

dead_letters = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look at dead letters and replay them.")
dead_letters.command("list")(list_dead_letters)
dead_letters.command("show")(show_dead_letter)
dead_letters.command("replay")(replay_dead_letters)
app.add_typer(dead_letters, name="dead-letters")
app.command()(trace)
app.command()(account)
app.command()(watch)
app.command()(reconcile)
app.command()(log)
app.command()(doctor)
