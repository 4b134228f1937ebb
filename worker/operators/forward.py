"""`nest-events forward`: chooses events that were stored only, counts them, and with --yes has them forwarded."""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import anyio

from shared.errors import StorageUnavailableError
from shared.events.forward_ledger import LEDGER_RETENTION
from shared.events.late_forward_ledger import StoredChoice
from shared.process.logs import get_logger
from worker.operators.audit import audit_entry, note_action
from worker.operators.connections import Connections
from worker.operators.exit_codes import OK, UsageError
from worker.operators.forward_job import LateForwarding, stored_pages
from worker.operators.forward_outcomes import EXPLAINED, Outcome, forecast
from worker.operators.terminal.durations import moment, parse_moment
from worker.operators.terminal.output import say, show_json, show_table
from worker.operators.terminal.progress import count_progress

NAMES_SHOWN: Final = 10
"""Event names listed one by one; of the rest only the sums are shown, and `--json` has all."""

LONGEST_WHY: Final = 500
"""As the audit trail's column is long."""

_log = get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardOptions:
    """The options as typed."""

    since: str
    until: str
    event_name: str | None
    name_prefix: str | None
    event_type: str | None
    caller: str | None
    limit: int | None
    rate: float
    why: str | None


@dataclass(slots=True)
class _Counted:
    """The chosen events by their foreseen outcomes, and the names of those to forward."""

    outcomes: Counter[Outcome]
    names: Counter[str]

    def within(self, limit: int | None) -> Counter[Outcome]:
        """The outcomes where at most `limit` events are forwarded."""
        beyond = 0 if limit is None else max(0, self.outcomes[Outcome.FORWARDED] - limit)
        return self.outcomes + Counter({Outcome.LEFT: beyond}) - Counter({Outcome.FORWARDED: beyond})


async def forward_events(connections: Connections, *, options: ForwardOptions, yes: bool, as_json: bool) -> int:
    """Forward the chosen events with `yes`; else only show what would become of them.

    What became of the events is printed, and written to the audit trail, also where it fails or is interrupted.

    Raises:
        UsageError: the time is not one, or reaches further back than the ledger; or `yes` comes without a reason.
    """
    _check(options, yes=yes)
    _choice(options, datetime.now(UTC))  # a wrong time is refused before any call
    choice = _choice(options, await connections.records.now())
    counted = await _count(connections, choice)
    foreseen = counted.within(options.limit)
    filters = _as_dict(choice, options)
    note_action("forward", choice=filters, count=foreseen[Outcome.FORWARDED], dry_run=not yes)
    if yes and foreseen[Outcome.FORWARDED]:
        await _forward(connections, choice, options, counted, as_json=as_json)
    else:
        _show(choice, counted, foreseen, as_json=as_json, dry_run=not yes, interrupted=False)
    return OK


def _check(options: ForwardOptions, *, yes: bool) -> None:
    why = (options.why or "").strip()
    if yes and not why:
        raise UsageError("--yes needs --why: a sentence for the audit trail")
    if len(why) > LONGEST_WHY:
        raise UsageError(f"--why is longer than {LONGEST_WHY} characters")


def _choice(options: ForwardOptions, now: datetime) -> StoredChoice:
    since, until = parse_moment(options.since, now=now), min(now, parse_moment(options.until, now=now))
    if now - since >= LEDGER_RETENTION:
        raise UsageError(
            f"--from {options.since}: the ledger is kept for {LEDGER_RETENTION.days} days, so an older event may have "
            "been forwarded already"
        )
    if since >= until:
        raise UsageError(f"--from {options.since} must be earlier than --to {options.until} and than now")
    return StoredChoice(
        since=since,
        until=until,
        event_name=options.event_name,
        name_prefix=options.name_prefix,
        event_type=options.event_type,
        caller=options.caller,
    )


async def _count(connections: Connections, choice: StoredChoice) -> _Counted:
    counted = _Counted(Counter(), Counter())
    with count_progress("Counting", None) as advance:
        async for page in stored_pages(connections.late_forward_ledger, choice):
            outcomes = [forecast(event) for event in page]
            counted.outcomes.update(outcomes)
            counted.names.update(
                event.event_name for event, outcome in zip(page, outcomes, strict=True) if outcome is Outcome.FORWARDED
            )
            advance(len(page))
    return counted


async def _forward(
    connections: Connections, choice: StoredChoice, options: ForwardOptions, counted: _Counted, *, as_json: bool
) -> None:
    """Forward the events, between two entries in the audit trail: a kill leaves the first one."""
    total = counted.within(options.limit)[Outcome.FORWARDED]
    filters = _as_dict(choice, options)
    began = audit_entry("forward", why=options.why, detail=filters | {"to_forward": total})
    await connections.audit_trail.write(began)
    forwarding = LateForwarding(
        ledger=connections.late_forward_ledger,
        topic=connections.forward_topic,
        events_per_second=options.rate,
        limit=options.limit,
    )
    done = False
    try:
        with count_progress("Forwarding", total) as advance:
            await forwarding.forward(choice, advance)
        done = True
    finally:
        not_reached = max(0, counted.outcomes.total() - forwarding.counts.total())
        outcomes = forwarding.counts + Counter({Outcome.LEFT: not_reached})
        with anyio.CancelScope(shield=True):
            await _note_end(connections, options, filters, outcomes)
        _show(choice, counted, outcomes, as_json=as_json, dry_run=False, interrupted=not done)


async def _note_end(
    connections: Connections, options: ForwardOptions, filters: dict[str, Any], outcomes: Counter[Outcome]
) -> None:
    """Write the counts to the audit trail. Where that fails they are still printed, and the first entry is there."""
    detail = filters | {"outcomes": {outcome.value: count for outcome, count in outcomes.items()}}
    try:
        await connections.audit_trail.write(audit_entry("forward", why=options.why, detail=detail))
    except StorageUnavailableError as error:
        _log.warning("audit_entry_not_written", command="forward", error=str(error))


def _as_dict(choice: StoredChoice, options: ForwardOptions) -> dict[str, Any]:
    """What was chosen, for the audit."""
    given = {
        "from": moment(choice.since),
        "to": moment(choice.until),
        "event_name": choice.event_name,
        "name_prefix": choice.name_prefix,
        "event_type": choice.event_type,
        "caller": choice.caller,
        "limit": options.limit,
        "rate": options.rate,
    }
    return {name: value for name, value in given.items() if value is not None}


def _show(
    choice: StoredChoice,
    counted: _Counted,
    outcomes: Counter[Outcome],
    *,
    as_json: bool,
    dry_run: bool,
    interrupted: bool,
) -> None:
    events = counted.outcomes.total()
    if as_json:
        document = {
            "dry_run": dry_run,
            "interrupted": interrupted,
            "from": choice.since,
            "to": choice.until,
            "events": events,
            "outcomes": {outcome.value: outcomes[outcome] for outcome in Outcome},
            "to_forward_by_event_name": dict(counted.names.most_common()),
            "adds_up": outcomes.total() == events,
        }
        show_json(document)
        return
    window = f"from {moment(choice.since)} until {moment(choice.until)}"
    if not events:
        say(f"No event that was stored only matches, {window}.")
        return
    say(f"Events that were stored only, {window}.")
    say("Dry run. The result with --yes:" if dry_run else "Result:")
    rows = [(each.value, outcomes[each], EXPLAINED[each]) for each in Outcome if outcomes[each]]
    show_table(("outcome", "events", ""), rows, right=("events",))
    say(f"{events} events = {' + '.join(f'{count} {outcome}' for outcome, count, _ in rows)}")
    if dry_run:
        _show_names(counted.names)
    if interrupted:
        say("Ended early: run the same command again; it goes on with the events that are left.")


def _show_names(names: Counter[str]) -> None:
    if not names:
        return
    say()
    show_table(("event name", "to forward"), names.most_common(NAMES_SHOWN), right=("to forward",))
    if len(names) > NAMES_SHOWN:
        rest = names.total() - sum(count for _, count in names.most_common(NAMES_SHOWN))
        say(f"... and {len(names) - NAMES_SHOWN} more with {rest} events; --json has all")
