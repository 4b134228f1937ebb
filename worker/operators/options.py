"""Options that several commands share."""

from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, for programs.")]
MaxReplays = Annotated[int, typer.Option("--max-replays", min=1, help="An event replayed so often is quarantined.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it; without this it is a dry run.")]

MAX_REPLAYS = 3
"""Once is a try, twice may be bad luck; three times the event itself is what is wrong."""
