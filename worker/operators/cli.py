"""`nest-events`: the operators' command. `commands` says what can be typed; this only puts it together."""

import typer

from worker.operators.commands.account import account
from worker.operators.commands.dead_letters import list_letters, replay_letters, show_letter
from worker.operators.commands.doctor import doctor
from worker.operators.commands.log import log
from worker.operators.commands.reconcile import reconcile
from worker.operators.commands.trace import trace
from worker.operators.commands.watch import watch
from worker.operators.exits import EXPLAINED

app = typer.Typer(
    name="nest-events",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Plain text: rich takes as long to import as all the rest of what help needs.
    rich_markup_mode=None,
    help=f"What became of events, and dead letters: look at them, replay them, count them.\n\n{EXPLAINED}",
    epilog="Settings come from the environment, as those of the worker: deploy/settings.env lists them.",
)

dead_letters = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look at dead letters and replay them.")
dead_letters.command("list")(list_letters)
dead_letters.command("show")(show_letter)
dead_letters.command("replay")(replay_letters)
app.add_typer(dead_letters, name="dead-letters")
app.command()(trace)
app.command()(account)
app.command()(watch)
app.command()(reconcile)
app.command()(log)
app.command()(doctor)
