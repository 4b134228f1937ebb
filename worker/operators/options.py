"""Options that several commands share."""

from typing import Annotated

import typer

Reasons = Annotated[list[str] | None, typer.Option("--reason", help="Such as http_400 or native; may be repeated.")]
EventNames = Annotated[list[str] | None, typer.Option("--event-name", help="May be repeated.")]
Callers = Annotated[list[str] | None, typer.Option("--caller", help="Who called the RPC, an e-mail; may be repeated.")]
OlderThan = Annotated[str | None, typer.Option("--older-than", help="Dead for at least so long: 90s, 15m, 24h, 7d.")]
YoungerThan = Annotated[str | None, typer.Option("--younger-than", help="Dead for less than so long.")]
IdsFrom = Annotated[str | None, typer.Option("--ids-from", help="A file with an event id a line; - is stdin.")]
MaxReplays = Annotated[int, typer.Option("--max-replays", min=1, help="An event replayed so often is quarantined.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it; without this it is a dry run.")]

MAX_REPLAYS = 3
"""Once is a try, twice may be bad luck; three times the event itself is what is wrong."""
