"""POST /v1/log_event: a rule decides what is done with the batch; kept events are on disk before the answer."""

import logging
import time
from collections.abc import Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, Final

from deploy.local.statsig_stand_in.behaviours import Behaviour, Drip, Hang, Reset, Slow, Status, event_id_of
from deploy.local.statsig_stand_in.connection import Exchange, Responder
from deploy.local.statsig_stand_in.event_log import EventLog, LoggedEvent
from deploy.local.statsig_stand_in.request_log import RequestLog
from deploy.local.statsig_stand_in.rules import RuleBook, Turn
from deploy.local.statsig_stand_in.tally import Tally
from deploy.local.statsig_stand_in.wire import (
    RefusedRequestError,
    Response,
    decode_events,
    json_response,
    refusal,
    unpack,
)

logger = logging.getLogger(__name__)

ACCEPTED: Final = json_response(HTTPStatus.ACCEPTED, {"success": True})


class Ingest:
    """Reads batches, and keeps and answers each as the rules say."""

    def __init__(self, rules: RuleBook, log: EventLog, requests: RequestLog, tally: Tally) -> None:
        self._rules = rules
        self._log = log
        self._requests = requests
        self._tally = tally

    def open(self, exchange: Exchange) -> Responder:
        """Called when the headers are in: count the request and draw its rules, of which one may reset at once."""
        number = self._tally.request()
        turn = self._rules.turn()
        if (reset := turn.early_reset()) is not None:
            self._note(number, [], reset.describe(), kept=False)
            self._tally.outcome("reset")
            exchange.reset()
        return partial(self._respond, number=number, turn=turn)

    async def _respond(self, exchange: Exchange, *, number: int, turn: Turn) -> None:
        try:
            events = decode_events(unpack(exchange.body, exchange.headers.get("content-encoding", "").strip().lower()))
        except RefusedRequestError as error:
            self._note(number, [], f"refusing with {int(error.status)}", kept=False)
            self._answer(exchange, refusal(error))
            return
        self._tally.batch(len(events))
        behaviour = turn.decide(events)
        try:
            if behaviour.accepts:
                await self._keep(number, events)
        except OSError:
            logger.exception("the log cannot be written")
            self._note(number, events, "failing to write the log", kept=False)
            self._answer(exchange, json_response(HTTPStatus.INTERNAL_SERVER_ERROR, {"success": False}))
            return
        self._note(number, events, behaviour.describe(), kept=behaviour.accepts)
        await self._behave(exchange, behaviour)

    def _note(self, number: int, events: Sequence[dict[str, Any]], did: str, *, kept: bool) -> None:
        event_ids = [event_id for event in events if (event_id := event_id_of(event)) is not None]
        self._requests.note(at=time.time(), request=number, event_ids=event_ids, did=did, kept=kept)

    async def _keep(self, number: int, events: list[dict[str, Any]]) -> None:
        received_at = time.time()
        kept = [LoggedEvent(received_at, number, event) for event in events]
        await self._log.append(kept)
        self._tally.accepted(kept)

    async def _behave(self, exchange: Exchange, behaviour: Behaviour) -> None:
        match behaviour:
            case Status():
                if behaviour.delay_seconds:
                    await exchange.peer_gone(within=behaviour.delay_seconds)
                if behaviour.breaks_off:
                    self._break_off(exchange, _response_of(behaviour))
                else:
                    self._answer(exchange, _response_of(behaviour))
            case Slow():
                await exchange.peer_gone(within=behaviour.delay_seconds)
                self._answer(exchange, ACCEPTED)
            case Drip():
                await self._drip(exchange, behaviour.gap_seconds)
            case Reset():
                self._tally.outcome("reset")
                exchange.reset()
            case Hang():
                self._tally.outcome("hang")
                await exchange.peer_gone()

    async def _drip(self, exchange: Exchange, gap_seconds: float) -> None:
        exchange.write(ACCEPTED.head(keep_alive=exchange.keep_alive))
        for byte in ACCEPTED.payload:
            if await exchange.peer_gone(within=gap_seconds):
                self._tally.outcome("gone")
                return
            exchange.write(bytes([byte]))
        self._tally.outcome(str(int(ACCEPTED.status)))

    def _break_off(self, exchange: Exchange, response: Response) -> None:
        exchange.keep_alive = False  # closes the connection once this returns
        half = response.payload[: len(response.payload) // 2]
        self._tally.outcome("broken_off" if exchange.write(response.head(keep_alive=False) + half) else "gone")

    def _answer(self, exchange: Exchange, response: Response) -> None:
        self._tally.outcome(str(int(response.status)) if exchange.send(response) else "gone")


def _response_of(behaviour: Status) -> Response:
    body = behaviour.body
    if body is None:
        body = '{"success":true}' if behaviour.status < HTTPStatus.MULTIPLE_CHOICES else '{"success":false}'
    return Response(behaviour.status, body.encode(), headers=behaviour.headers)
