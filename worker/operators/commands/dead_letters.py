"""`nest-events dead-letters list`, `show`, `replay` and `discard` as they are typed."""

from functools import partial
from typing import Annotated

import typer

from worker.operators.dead_letters.filters import Filters, with_filters
from worker.operators.options import DEFAULT_RATE, MAX_RATE, MAX_REPLAYS, MIN_RATE, AsJson, MaxReplays, Yes


@with_filters
def list_letters(
    *,
    filters: Filters,
    limit: Annotated[int, typer.Option(min=0, help="How many to list one by one.")] = 20,
    newest: Annotated[bool, typer.Option("--newest", help="List the latest ones instead of the oldest.")] = False,
    as_json: AsJson = False,
) -> None:
    """Count open dead letters by reason, age, event name and caller, and list the oldest.

    Reads the table into which workers collect dead letters, so the counts are exact.

    \b
    nest-events dead-letters list
    nest-events dead-letters list --reason http_400 --older-than 24h --json
    """
    from worker.operators.dead_letters.listing import list_dead_letters
    from worker.operators.run_command import run_command

    run_command(partial(list_dead_letters, filters=filters, limit=limit, newest=newest, as_json=as_json))


def show_letter(
    subject: Annotated[str, typer.Argument(metavar="EVENT_ID", help="For poison, its message id.")],
    *,
    max_replays: MaxReplays = MAX_REPLAYS,
    as_json: AsJson = False,
) -> None:
    """Show an event's dead letters: the decoded message, the reason, every attempt, and what a replay would do.

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
        bool, typer.Option("--from-rows", help="Also replay dead events without a dead letter, from their rows.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Publish at most this many events, the oldest dead letters first.")
    ] = None,
    rate: Annotated[float, typer.Option(min=MIN_RATE, max=MAX_RATE, help="Events per second.")] = DEFAULT_RATE,
    max_replays: MaxReplays = MAX_REPLAYS,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Publish dead-lettered events again. Without --yes it is a dry run, which only counts.

    Never sends an event that was delivered. It may be interrupted at any time and run again, and two operators may run
    it at once.

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
    """Close dead letters that no replay can send: poison, and events without a ledger row. A dry run without --yes.

    `dead-letters show` still shows a closed dead letter for 90 days.

    \b
    nest-events dead-letters discard --reason undecodable
    nest-events dead-letters discard --reason undecodable --yes
    """
    from worker.operators.dead_letters.discard import discard_dead_letters
    from worker.operators.run_command import run_command

    run_command(partial(discard_dead_letters, filters=filters, yes=yes, as_json=as_json))
