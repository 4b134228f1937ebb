"""`nest-events dead-letters list`, `show` and `replay` as they are typed."""

from functools import partial
from typing import Annotated

import typer

from worker.operators.dead_letters.filters import Filters, with_filters
from worker.operators.options import MAX_REPLAYS, AsJson, MaxReplays, Yes


@with_filters
def list_letters(
    *,
    filters: Filters,
    limit: Annotated[int, typer.Option(min=0, help="How many to list one by one.")] = 20,
    newest: Annotated[bool, typer.Option("--newest", help="List the latest first.")] = False,
    as_json: AsJson = False,
) -> None:
    """How many dead letters are open, by reason, age, event name and caller, and the oldest ones.

    Complete and in order, from the table into which the workers collect them.

    \b
    nest-events dead-letters list
    nest-events dead-letters list --reason http_400 --older-than 24h --json
    """
    from worker.operators.dead_letters.listing import list_dead_letters
    from worker.operators.run_command import run_command

    run_command(partial(list_dead_letters, filters=filters, limit=limit, newest=newest, as_json=as_json))


def show_letter(
    subject: Annotated[str, typer.Argument(metavar="EVENT_ID", help="Or the message id of poison.")],
    *,
    max_replays: MaxReplays = MAX_REPLAYS,
    as_json: AsJson = False,
) -> None:
    """One event's dead letters: the message decoded, why, every attempt, and what would happen on replay.

    \b
    nest-events dead-letters show 6cf56cc8-4ae1-4405-bc63-97157a1b5c23
    """
    from worker.operators.dead_letters.showing import show_dead_letter
    from worker.operators.run_command import run_command

    run_command(partial(show_dead_letter, subject=subject, max_replays=max_replays, as_json=as_json))


@with_filters
def replay_letters(
    *,
    filters: Filters,
    from_rows: Annotated[
        bool, typer.Option("--from-rows", help="Also dead events without a dead letter, from their rows.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Send no more than so many, the oldest first.")] = None,
    rate: Annotated[float, typer.Option(min=0.1, max=10_000, help="Events a second.")] = 20.0,
    max_replays: MaxReplays = MAX_REPLAYS,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Send dead letters on their way again: a dry run with the counts unless --yes.

    Never sends what was delivered. May be ended at any time and run again, also by two operators at once.

    \b
    nest-events dead-letters replay --reason http_400
    nest-events dead-letters replay --reason http_400 --limit 10 --yes
    nest-events dead-letters replay --ids-from ids.txt --rate 5 --yes
    nest-events dead-letters replay --from-rows --yes
    """
    from worker.operators.dead_letters.replay import replay_dead_letters
    from worker.operators.run_command import run_command

    run_command(
        partial(
            replay_dead_letters,
            filters=filters,
            from_rows=from_rows,
            limit=limit,
            rate=rate,
            max_replays=max_replays,
            yes=yes,
            as_json=as_json,
        )
    )


@with_filters
def discard_letters(*, filters: Filters, yes: Yes = False, as_json: AsJson = False) -> None:
    """Close dead letters that no replay could send: poison, and those whose event has no row. A dry run unless --yes.

    Closed letters are shown by `dead-letters show` for 90 days more.

    \b
    nest-events dead-letters discard --reason undecodable
    nest-events dead-letters discard --reason undecodable --yes
    """
    from worker.operators.dead_letters.discard import discard_dead_letters
    from worker.operators.run_command import run_command

    run_command(partial(discard_dead_letters, filters=filters, yes=yes, as_json=as_json))
