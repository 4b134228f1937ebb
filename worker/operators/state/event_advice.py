"""What to do about one event, with regard to the state of the workers."""

from shared.events.forward_ledger import ForwardState
from worker.operators.connections import Connections
from worker.operators.events.event_status import EventStatus
from worker.operators.events.records import Record
from worker.operators.state.advice import delivery_advice
from worker.operators.state.asking import answer_or_unknown


async def advice_on(record: Record, status: EventStatus, connections: Connections) -> str:
    """The status's own advice, or advice on what holds up every event: no worker runs, or all circuits are open.

    Asks for the processes only where the event is pending, not in flight and not set aside.
    """
    if record.state is not ForwardState.PENDING or record.is_in_flight or record.is_set_aside:
        return status.advice
    processes = await answer_or_unknown(connections.process_states.seen, connections.settings)
    return delivery_advice(processes, record.read_at) or status.advice
