"""The front door under requests that nobody would send, over the wire: `make fuzz`, and some seconds of it here.

Whatever comes, it is answered: with few words that repeat nothing of it, and with a row for each event that is said to
be logged and for no other. The next request on the connection is served.
"""

import http.client
import json
import os
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, given, seed, settings

from shared.gen.events.v1.event_logging_pb import LogEventResponse, LogEventsResponse
from tests.support.wire.fuzzing import PLANTED, Strange, strange_requests
from tests.support.wire.http1 import JSON, LOG_EVENT
from tests.support.wire.ingress import Ingress, LogLines, captured_log, open_store, running_ingress

pytestmark = pytest.mark.emulators

SECONDS: Final = float(os.environ.get("FUZZ_SECONDS", "20"))
"""How long; `make fuzz` sets it."""

IS_SHORT: Final = "FUZZ_SECONDS" not in os.environ
"""Then always the same requests come, so that a run of the tests can be repeated."""

ROUND: Final = 50
"""Requests of one seed; time is looked at in between."""

MOST_CHARACTERS: Final = 200
CODES: Final = {
    400: {"invalid_argument"},
    409: {"already_exists"},
    429: {"resource_exhausted"},
    503: {"unavailable"},
}
GOOD: Final = json.dumps({"event_name": "good", "forward_to_statsig": False}).encode()


@dataclass
class Caller:
    """One connection, made anew where the server closed it."""

    port: int
    logged: set[str] = field(default_factory=set)
    """Events that are said to be there."""

    requests: int = 0
    _connection: http.client.HTTPConnection | None = None

    def check(self, strange: Strange) -> None:
        self.requests += 1
        status, body = self._call(strange.path, strange.headers, strange.body)
        if status == 200:
            for outcome in body.get("outcomes", [{"logged": body}] if "eventId" in body else []):
                if "error" in outcome:
                    self._check_error(outcome["error"]["code"], outcome["error"]["message"])
                    assert PLANTED not in json.dumps(outcome["error"])
                else:
                    self.logged.add(outcome["logged"]["eventId"])
        else:
            assert body["code"] in CODES.get(status, set()), (status, body)
            self._check_error(body["code"], body["message"])
            assert PLANTED not in json.dumps(body)
        status, body = self._call(LOG_EVENT, JSON, GOOD)
        assert status == 200, body
        self.logged.add(body["eventId"])

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _check_error(self, code: str, message: str) -> None:
        assert code in set().union(*CODES.values())
        assert 0 < len(message) <= MOST_CHARACTERS
        assert PLANTED not in message

    def _call(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, Any]:
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        self._connection.request("POST", path, body, headers | {"accept": "application/json"})
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.will_close:
            self.close()
        if headers["content-type"] == "application/proto" and answer.status == 200:
            return answer.status, _as_json(path, content)
        return answer.status, json.loads(content)


def _as_json(path: str, content: bytes) -> Any:
    message = LogEventResponse if path == LOG_EVENT else LogEventsResponse
    return json.loads(message.from_binary(content).to_json())


@pytest.fixture(scope="module")
def portal() -> Iterator[BlockingPortal]:
    with start_blocking_portal() as opened:
        yield opened


@pytest.fixture
def log() -> Iterator[LogLines]:
    with captured_log() as lines:
        yield lines


@pytest.fixture
def ingress(portal: BlockingPortal, module_environment: dict[str, str]) -> Iterator[Ingress]:
    """In a thread of its own: Hypothesis is not asynchronous."""
    with portal.wrap_async_context_manager(running_ingress(module_environment)) as running:
        yield running


@pytest.mark.timeout(SECONDS + 60)
def test_whatever_comes_is_answered_and_of_no_other_effect(
    log: LogLines, portal: BlockingPortal, ingress: Ingress, module_environment: dict[str, str]
) -> None:
    with closing(Caller(ingress.port)) as caller:
        _fuzz(caller)

    assert PLANTED not in log.text
    assert log.lines("rpc_crashed") == []
    with portal.wrap_async_context_manager(open_store(module_environment)) as store:
        written = portal.call(store.event_ids)
    assert written == caller.logged
    print(f"{caller.requests} strange requests, {len(written)} events")  # noqa: T201 - for who runs it by hand


def _fuzz(caller: Caller) -> None:
    end = time.monotonic() + SECONDS
    start = 0 if IS_SHORT else time.time_ns()
    for number in count(start):
        if time.monotonic() > end:
            break

        @seed(number)
        @settings(max_examples=ROUND, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(strange_requests())
        def round_of_requests(strange: Strange) -> None:
            caller.check(strange)

        round_of_requests()
