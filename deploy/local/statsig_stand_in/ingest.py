"""POST /v1/log_event: the rule whose turn it is decides, kept events are on disk before any answer."""

import logging
import time
from functools import partial
from http import HTTPStatus
from typing import Any, Final

from deploy.local.statsig_stand_in.behaviours import Behaviour, Drip, Hang, RefuseEvent, Reset, Slow, Status
from deploy.local.statsig_stand_in.connection import Exchange, Responder
from deploy.local.statsig_stand_in.event_log import EventLog, LoggedEvent
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
    """What Statsig does with a batch."""

    def __init__(self, rules: RuleBook, log: EventLog, tally: Tally) -> None:
        self._rules = rules
        self._log = log
        self._tally = tally

    def open(self, exchange: Exchange) -> Responder:
        """Number the request and pick its rules, when the headers are in."""
        number = self._tally.request()
        turn = self._rules.turn()
        if turn.resets_before_body():
            self._tally.outcome("reset")
            exchange.reset()
        return partial(self._respond, number=number, turn=turn)

    async def _respond(self, exchange: Exchange, *, number: int, turn: Turn) -> None:
        try:
            events = decode_events(unpack(exchange.body, exchange.headers.get("content-encoding", "").strip().lower()))
        except RefusedRequestError as error:
            self._answer(exchange, refusal(error))
            return
        self._tally.batch(len(events))
        behaviour = turn.decide(events)
        try:
            if behaviour.accepts:
                await self._keep(number, events)
        except OSError:
            logger.exception("the log cannot be written")
            self._answer(exchange, json_response(HTTPStatus.INTERNAL_SERVER_ERROR, {"success": False}))
            return
        await self._behave(exchange, behaviour)

    async def _keep(self, number: int, events: list[dict[str, Any]]) -> None:
        received_at = time.time()
        kept = [LoggedEvent(received_at, number, event) for event in events]
        await self._log.append(kept)
        self._tally.accepted(kept)

    async def _behave(self, exchange: Exchange, behaviour: Behaviour) -> None:
        match behaviour:
            case Status():
                self._answer(exchange, _as_told(behaviour))
            case RefuseEvent():
                error = "the batch holds an event that is refused"
                self._answer(exchange, json_response(behaviour.status, {"success": False, "error": error}))
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

    def _answer(self, exchange: Exchange, response: Response) -> None:
        self._tally.outcome(str(int(response.status)) if exchange.send(response) else "gone")


def _as_told(behaviour: Status) -> Response:
    body = behaviour.body
    if body is None:
        body = '{"success":true}' if behaviour.status < HTTPStatus.MULTIPLE_CHOICES else '{"success":false}'
    return Response(behaviour.status, body.encode(), headers=behaviour.headers)
