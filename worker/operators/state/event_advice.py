"""What to do about one event, with regard to the state of the workers."""

from shared.events.event import Event
from shared.events.forward_ledger import ForwardState
from shared.events.rule_table import ReadRules
from shared.events.rules import RuleAction, RuleSet
from worker.operators.connections import Connections
from worker.operators.events.event_status import EventStatus
from worker.operators.events.records import Record
from worker.operators.state.advice import delivery_advice
from worker.operators.state.asking import Unknown, answer_or_unknown
from worker.operators.terminal.durations import moment


def rule_advice(read: ReadRules | Unknown, record: Record) -> str | None:
    """Which rule keeps the event from being sent, and what to do; None where none does, or that is not known."""
    if isinstance(read, Unknown):
        return None  # the processes are not known either then, and their answer says so
    active = RuleSet(rule for rule in read.rules if rule.is_active(read.at))
    for pause in active.of(RuleAction.PAUSE):
        why = f"{pause.created_by} has paused forwarding until {moment(pause.ends_at)}: {pause.why}."
        return f"{why} To do: `nest-events resume` once events may be sent again."
    event = Event(record.event_id, record.event_name, record.event_type, None, 0, {}, caller=record.caller)
    holding = active.first(RuleAction.HOLD, event)
    if holding is None:
        return None
    why = f"Rule {holding.rule_id} of {holding.created_by} holds it until {moment(holding.ends_at)}: {holding.why}."
    return f"{why} To do: `nest-events rules remove {holding.rule_id}` once such events may be sent; it is sent then."


async def advice_on(record: Record, status: EventStatus, connections: Connections) -> str:
    """The status's own advice, or advice on what holds the event up: a rule, a pause, no worker, or open circuits.

    Asks for rules and processes only where the event is pending and not in flight, and for processes only where it is
    not set aside either.
    """
    if record.state is not ForwardState.PENDING or record.is_in_flight:
        return status.advice
    by_rule = rule_advice(await answer_or_unknown(connections.rules.read, connections.settings), record)
    if by_rule is not None:
        return by_rule
    if record.is_set_aside:
        return status.advice
    processes = await answer_or_unknown(connections.process_states.seen, connections.settings)
    return delivery_advice(processes, record.read_at) or status.advice
