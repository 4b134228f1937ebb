"""`nest-events rules add`, `list` and `remove`, `pause`, `resume`, `probe` and `audit` as they are typed.

`add_rule` is long because each option is a parameter.
"""

from functools import partial
from typing import Annotated

import typer

from worker.operators.options import AsJson, Yes

Why = Annotated[str, typer.Option("--why", help="Recorded in the audit.")]
Lasts = Annotated[str, typer.Option("--for", help="How long it lasts: 90s, 15m, 24h, up to 365d.")]


def add_rule(
    action: Annotated[str, typer.Argument(help="refuse, store-only, hold or dead-letter.")],
    *,
    event_name: Annotated[str | None, typer.Option(help="Events of this name.")] = None,
    name_prefix: Annotated[
        str | None, typer.Option("--name-prefix", help="Events whose name begins with this.")
    ] = None,
    event_type: Annotated[str | None, typer.Option(help="Events of this type.")] = None,
    caller: Annotated[str | None, typer.Option(help="Events of this caller's e-mail.")] = None,
    why: Annotated[str, typer.Option("--why", help="Recorded, and shown to callers that are refused or warned.")],
    lasts: Lasts = "24h",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Add a rule for the events that match: refuse, store-only, hold or dead-letter.

    An event matches if it has every value that is given. `refuse` and `store-only` concern new events; `hold` and
    `dead-letter` those that are pending. Without --yes nothing is written, and the events of the last hour that would
    have matched are counted.

    \b
    nest-events rules add hold --event-name order_paid --why 'amounts are wrong, INC-12'
    nest-events rules add refuse --caller batch@example.com --name-prefix debug_ --why 'see #ev' --for 2h --yes
    """
    from worker.operators.rules.adding import add_rule as add
    from worker.operators.rules.drafting import RuleOptions
    from worker.operators.run_command import run_command

    options = RuleOptions(
        action=action,
        event_name=event_name,
        name_prefix=name_prefix,
        event_type=event_type,
        caller=caller,
        why=why,
        lasts=lasts,
    )
    run_command(partial(add, options=options, yes=yes, as_json=as_json))


def list_rules(
    *,
    with_ended: Annotated[bool, typer.Option("--all", help="Also those that ended within 90 days.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the rules that are active.

    \b
    nest-events rules list
    nest-events rules list --all --json
    """
    from worker.operators.rules.listing import list_rules as show
    from worker.operators.run_command import run_command

    run_command(partial(show, with_ended=with_ended, as_json=as_json))


def remove_rule(
    rule_ids: Annotated[list[str], typer.Argument(metavar="RULE_ID", help="One or several.")],
    *,
    why: Why = "",
    as_json: AsJson = False,
) -> None:
    """End rules at once. What a hold rule held is then published again and sent.

    \b
    nest-events rules remove 6cf56cc8 --why 'mended'
    """
    from worker.operators.rules.removing import remove_rules
    from worker.operators.run_command import run_command

    run_command(partial(remove_rules, rule_ids=rule_ids, why=why, as_json=as_json))


def pause(
    *,
    why: Annotated[str, typer.Option("--why", help="Recorded in the audit.")],
    lasts: Lasts = "1h",
    as_json: AsJson = False,
) -> None:
    """Stop all workers from sending, until it is resumed or the time is over. Nothing is lost meanwhile.

    Requests in flight end as usual. Accepted events wait.

    \b
    nest-events pause --why 'Statsig maintenance' --for 2h
    """
    from shared.events.rules import RuleAction
    from worker.operators.rules.adding import add_lever
    from worker.operators.run_command import run_command

    run_command(partial(add_lever, action=RuleAction.PAUSE, why=why, lasts=lasts, as_json=as_json))


def resume(*, why: Why = "", as_json: AsJson = False) -> None:
    """End a pause: workers send again.

    \b
    nest-events resume --why 'maintenance is over'
    """
    from worker.operators.rules.removing import resume as end
    from worker.operators.run_command import run_command

    run_command(partial(end, why=why, as_json=as_json))


def probe(*, why: Why = "asked for by an operator", as_json: AsJson = False) -> None:
    """Let workers whose circuit is open probe Statsig now, without waiting for the next probe.

    \b
    nest-events probe --why 'Statsig is back'
    """
    from shared.events.rules import RuleAction
    from worker.operators.rules.adding import add_lever
    from worker.operators.run_command import run_command

    run_command(partial(add_lever, action=RuleAction.PROBE, why=why, lasts="1m", as_json=as_json))


def audit(
    *,
    since: Annotated[str, typer.Option("--since", help="From when: an age such as 24h, or a UTC time.")] = "7d",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The most entries that are listed.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List what operators changed: who, when and why. The latest first.

    \b
    nest-events audit
    nest-events audit --since 30d --json
    """
    from worker.operators.rules.listing import list_audit
    from worker.operators.run_command import run_command

    run_command(partial(list_audit, since=since, limit=limit, as_json=as_json))
