"""What to do about one event, where the workers are the reason that it waits."""

from shared.events.forward_ledger import ForwardState
from worker.operators.connections import Connections
from worker.operators.events.event_status import EventStatus
from worker.operators.events.records import Record
from worker.operators.state.advice import delivery_advice
from worker.operators.state.asking import asked


async def advised(connections: Connections, record: Record, where: EventStatus) -> str:
    """The advice on the event, or on what keeps all events: no worker, or circuits that are open."""
    if record.state is not ForwardState.PENDING or record.is_in_work or record.is_waiting:
        return where.advice
    processes = await asked(connections.process_states.seen, connections.settings)
    return delivery_advice(processes, record.read_at) or where.advice
