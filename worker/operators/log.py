"""`nest-events log`: send a test event through the ingress and follow it to Statsig."""

from typing import Final

import anyio
from connectrpc.errors import ConnectError

from shared.forward_ledger import ForwardState
from shared.gen.events.v1.event_logging_connect import EventLoggingServiceClient
from shared.gen.events.v1.event_logging_pb import LogEventRequest
from worker.operators.audit import note_action
from worker.operators.connections import Connections
from worker.operators.exits import BAD_NEWS, OK, IngressUnavailableError
from worker.operators.records import Record
from worker.operators.terminal import say, show_json
from worker.operators.whereabouts import whereabouts

CALL_MS: Final = 10_000
POLL_SECONDS: Final = 0.25


async def log_test_event(
    connections: Connections,
    *,
    url: str,
    event_name: str,
    wait: float,
    id_token: str | None,
    as_json: bool,
) -> int:
    """Send it, and follow it for `wait` seconds or until it is settled."""
    note_action("log", choice={"url": url, "event_name": event_name}, count=1, dry_run=False)
    event_id = await _send(url, event_name, id_token)
    if not as_json:
        say(f"Logged {event_id}")
    began = anyio.current_time()
    record: Record | None = None
    while True:
        before, record = record, (await connections.records.of([event_id])).get(event_id)
        waited = anyio.current_time() - began
        if record is not None and not as_json and (before is None or before.state != record.state):
            say(f"{waited:6.1f} s  {record.state}  {record.last_reason or ''}".rstrip())
        settled = record is not None and record.state is not ForwardState.PENDING
        if settled or waited >= wait:
            break
        await anyio.sleep(POLL_SECONDS)
    return _end(event_id, record, waited, as_json=as_json)


async def _send(url: str, event_name: str, id_token: str | None) -> str:
    headers = {} if id_token is None else {"authorization": f"Bearer {id_token}"}
    request = LogEventRequest(event_name=event_name, event_type="operators", forward_to_statsig=True)
    try:
        async with EventLoggingServiceClient(url) as client:
            answer = await client.log_event(request, headers=headers, timeout_ms=CALL_MS)
    except ConnectError as error:
        raise IngressUnavailableError(f"{url} answered {error.code.value}: {error.message}") from error
    except (OSError, ValueError) as error:
        raise IngressUnavailableError(f"{url} cannot be reached ({type(error).__name__})") from error
    return answer.event_id


def _end(event_id: str, record: Record | None, waited: float, *, as_json: bool) -> int:
    delivered = record is not None and record.state is ForwardState.DELIVERED
    where = None if record is None else whereabouts(record, None, looked=False)
    sentence = "It has no row: the answer and the database do not belong together." if where is None else where.sentence
    if as_json:
        state = None if record is None else record.state
        show_json({"event_id": event_id, "state": state, "seconds": round(waited, 3), "now": sentence})
    else:
        say(sentence)
        if where is not None and not delivered:
            say(where.advice)
    return OK if delivered else BAD_NEWS
