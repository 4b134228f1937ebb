"""`nest-events log`: sends a test event through the ingress and follows it to Statsig."""

from functools import partial
from typing import Final
from urllib.parse import urlsplit

import anyio
from connectrpc.errors import ConnectError

from shared.events.forward_ledger import ForwardState
from shared.events.statsig_projection import is_dropped_name
from shared.gen.events.v1.event_logging_connect import EventLoggingServiceClient
from shared.gen.events.v1.event_logging_pb import LogEventRequest
from worker.operators.audit import note_action
from worker.operators.connections import Connections
from worker.operators.events.event_status import event_status
from worker.operators.events.records import Record
from worker.operators.exit_codes import BAD_NEWS, OK, UNAVAILABLE, IngressUnavailableError, UsageError
from worker.operators.state.asking import Unknown, answer_or_unknown
from worker.operators.state.event_advice import advice_on
from worker.operators.terminal.output import say, show_json

CALL_TIMEOUT_MS: Final = 10_000
POLL_INTERVAL_SECONDS: Final = 0.25

NO_ROW: Final = "It has no row here: the ingress writes to another database."

MAX_NAME_LENGTH: Final = 256
"""The ingress's limit."""


async def log_test_event(
    connections: Connections,
    *,
    url: str,
    event_name: str,
    wait: float,
    id_token: str | None,
    as_json: bool,
) -> int:
    """Log a real event, and follow it for `wait` seconds or until it is settled.

    Returns OK where it was delivered, UNAVAILABLE where Spanner could not be asked, else BAD_NEWS.

    Raises:
        UsageError: no ingress has such an address, or would accept such a name. Nothing was sent.
        IngressUnavailableError: the ingress refused the call or did not answer; it may have logged the event.
    """
    _check(url, event_name)
    note_action("log", choice={"url": url, "event_name": event_name}, count=1, dry_run=False)
    event_id = await _send(url, event_name, id_token)
    if not as_json:
        say(f"Logged {event_id}")
    began = anyio.current_time()
    record: Record | Unknown | None = None
    while True:
        before, record = record, await _record(connections, event_id)
        waited = anyio.current_time() - began
        if isinstance(record, Record) and not as_json and record.state != getattr(before, "state", None):
            say(f"{waited:6.1f} s  {record.state}  {record.last_reason or ''}".rstrip())
        settled = isinstance(record, Record) and record.state is not ForwardState.PENDING
        # Where Spanner does not answer, `trace` can follow the event later by its id.
        if settled or isinstance(record, Unknown) or waited >= wait:
            break
        await anyio.sleep(POLL_INTERVAL_SECONDS)
    return await _finish(connections, event_id, record, waited, as_json=as_json)


async def _record(connections: Connections, event_id: str) -> Record | Unknown | None:
    found = await answer_or_unknown(partial(connections.records.of, [event_id]), connections.settings)
    return found if isinstance(found, Unknown) else found.get(event_id)


def _check(url: str, event_name: str) -> None:
    """Refuse what cannot work before anything is done."""
    name = event_name.strip()
    if not _is_address(url):
        raise UsageError(f"--url '{url}' is not the address of an ingress: write http://HOST:PORT or https://HOST")
    if not name or len(name) > MAX_NAME_LENGTH:
        raise UsageError(f"--event-name must have 1 to {MAX_NAME_LENGTH} characters, not counting blanks around it")
    if is_dropped_name(name):
        raise UsageError(f"--event-name '{event_name}': Statsig drops events whose name has such a character")


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:  # the port is not a number
        return False


async def _send(url: str, event_name: str, id_token: str | None) -> str:
    headers = {} if id_token is None else {"authorization": f"Bearer {id_token}"}
    request = LogEventRequest(event_name=event_name, event_type="operators", forward_to_statsig=True)
    try:
        async with EventLoggingServiceClient(url) as client:
            answer = await client.log_event(request, headers=headers, timeout_ms=CALL_TIMEOUT_MS)
    except ConnectError as error:
        raise IngressUnavailableError(f"{url} answered {error.code.value}: {error.message}") from error
    except (OSError, ValueError) as error:
        raise IngressUnavailableError(f"{url} cannot be reached ({type(error).__name__})") from error
    return answer.event_id


async def _finish(
    connections: Connections, event_id: str, record: Record | Unknown | None, waited: float, *, as_json: bool
) -> int:
    if isinstance(record, Record):
        status = event_status(record, has_dead_letter=record.state is ForwardState.DEAD)
        sentence, advice = status.sentence, await advice_on(record, status, connections)
        code = OK if record.state is ForwardState.DELIVERED else BAD_NEWS
    elif isinstance(record, Unknown):
        sentence, advice, code = f"Where it is now is {record}.", f"Run `nest-events trace {event_id}`.", UNAVAILABLE
    else:
        sentence, advice, code = NO_ROW, "Check SPANNER_DATABASE and --url.", BAD_NEWS
    if as_json:
        state = record.state if isinstance(record, Record) else None
        document = {"event_id": event_id, "state": state, "seconds": round(waited, 3), "now": sentence}
        show_json(document | {"advice": advice})
    else:
        say(sentence)
        if code != OK:
            say(advice)
    return code
