"""One `StatsigServer` as a blocking client: one POST per call, one outcome per event. For statsig 0.72.1.

The SDK calls `events_flushed_callback` before its own retry logic and outside any try. The callback raises on anything
but a confirmation, which leaves `flush()` there: nothing reaches the SDK's retry queue, and only the worker retries
(without this, 906 duplicates in 10,000 events with 20 % failing requests). Each option has its reason beside it.
"""

import json
import math
import threading
from collections.abc import Sequence
from typing import Any, Final, cast

from statsig import StatsigEvent as SdkEvent
from statsig import StatsigOptions, StatsigUser
from statsig.evaluation_details import DataSource
from statsig.output_logger import LogLevel
from statsig.statsig_errors import StatsigValueError
from statsig.statsig_server import StatsigServer

from shared.clock import Clock
from shared.errors import SettingsError
from shared.events.statsig_projection import StatsigEvent
from worker.statsig.http import replace_http_parts
from worker.statsig.outcome import NO_OUTCOME, NOT_SERIALIZABLE, SendOutcome, SendVerdict, classify

_NOWHERE: Final = "disabled://statsig/"
"""requests has no adapter for the scheme: a fetch by the SDK fails before any socket or name lookup."""

_NEVER_SECONDS: Final = 10**8
"""An interval that no process lives to see."""

_TIMER_FLUSH_SECONDS: Final = 2.0
"""Every 60 s the SDK cuts a batch from the events logged so far, which one of its threads sends within 1 s. The rest is
slack."""

_BOOTSTRAP: Final = json.dumps(
    {
        "has_updates": True,
        "time": 1,  # 0 would log "store is not populated" as an error
        "feature_gates": [],
        "dynamic_configs": [],
        "layer_configs": [],
        # Rates of 10,000. Left out, the SDK adds `statsig::diagnostics` events, which are billed, to our batches.
        "diagnostics": {"initialize": 0, "logevent": 0, "api_call": 0, "dcs": 0, "idlist": 0},
        "sdk_flags": {},
        "sdk_configs": {},
    }
)


class _NotConfirmedError(Exception):
    """Raised by the callback to leave `flush()` before the SDK decides to retry."""


class StatsigClient:
    """Blocking; for one thread at a time. Has SDK threads of its own until it is closed.

    A process may have several, but no other Statsig instances: the SDK's logger and the replaced HTTP parts are global.
    """

    def __init__(
        self, *, secret: str, api_url: str, principal: str, environment: str, timeout_seconds: float, clock: Clock
    ) -> None:
        """Start the SDK, without I/O. `timeout_seconds` bounds each connect and each read, not a whole answer.

        Long because of the SDK's options, each with its reason.

        Raises:
            SettingsError: `secret` is not a server secret key.
        """
        self._clock = clock
        self._user = StatsigUser(principal)
        # A batch that the SDK's timer cut is sent late: a connect and a read, each with its own timeout.
        self._late_outcome_seconds = _TIMER_FLUSH_SECONDS + 2 * timeout_seconds
        self._answered = threading.Condition()
        self._waiting_for: set[str] = set()
        self._outcomes: dict[str, SendOutcome] = {}
        self._closing = False
        options = StatsigOptions(
            api_for_log_event=api_url.rstrip("/") + "/",
            tier=environment,  # left out, it means production, which is billed
            # Typed int, but passed to requests as it is.
            timeout=cast("int", timeout_seconds),
            # No request other than log_event.
            api_for_download_config_specs=_NOWHERE,
            api_for_get_id_lists=_NOWHERE,
            bootstrap_values=_BOOTSTRAP,
            initialize_sources=[DataSource.BOOTSTRAP],
            config_sync_sources=[],
            rulesets_sync_interval=_NEVER_SECONDS,
            idlists_sync_interval=_NEVER_SECONDS,
            disable_diagnostics=True,
            # The parser and the country lookup take 450 ms of start and 12 MiB, and the worker uses neither.
            disable_ua_parser=True,
            disable_country_lookup=True,
            event_queue_size=10**9,  # the SDK never cuts a batch by its size
            # Not for retries: with 0 a batch that the timer cut is lost, with 1 it is pushed out.
            retry_queue_size=10_000,
            log_event_connection_reuse=True,
            events_flushed_callback=self._flushed,
            # At WARNING the SDK logs each failed request with URL and exception text; the worker logs the outcome.
            output_logger_level=LogLevel.ERROR,
        )
        replace_http_parts()
        self._server = StatsigServer()
        details = self._server.initialize(secret, options)
        if not details.init_success or details.source is not DataSource.BOOTSTRAP:
            # A key that is not a server secret does not raise.
            raise SettingsError("the Statsig SDK did not initialize: is STATSIG_SERVER_SECRET a server secret key?")
        # The event logger read this option in its constructor; the SDK's reporter of exceptions to statsigapi.net reads
        # it each time. So events flow and reports do not. Set earlier, events would not flow either.
        options.disable_all_logging = True

    def send(self, events: Sequence[StatsigEvent]) -> dict[str, SendOutcome]:
        """Make one attempt, and block until each event has an outcome, by event_id. An event given twice is sent once.

        Never raises for Statsig or the network. Not bounded: an answer that drips in can take any time.
        """
        outcomes: dict[str, SendOutcome] = {}
        accepted: dict[str, SdkEvent] = {}
        for event in events:
            try:
                accepted[event.event_id] = self._sdk_event(event)
            except (StatsigValueError, ValueError):
                outcomes[event.event_id] = NOT_SERIALIZABLE
        with self._answered:
            self._waiting_for, self._outcomes = set(accepted), outcomes
        try:
            self._log(list(accepted.values()))
            self._server.flush()  # type: ignore[no-untyped-call]
        except _NotConfirmedError:
            pass  # `_flushed` has its outcome
        with self._answered:
            self._answered.wait_for(lambda: not self._waiting_for, self._late_outcome_seconds)
            outcomes |= dict.fromkeys(self._waiting_for, NO_OUTCOME)
            self._waiting_for, self._outcomes = set(), {}
        return outcomes

    def close(self) -> None:
        """Flush and stop the SDK; blocks. Only while no `send` is running."""
        self._closing = True
        self._server.shutdown()  # type: ignore[no-untyped-call]

    def _sdk_event(self, event: StatsigEvent) -> SdkEvent:
        if isinstance(event.value, float) and not math.isfinite(event.value):
            raise ValueError("the SDK would write it as NaN, which is not JSON")
        metadata = {**event.metadata, "event_id": event.event_id}  # correlates the callback with the event
        return SdkEvent(self._user, event.name, event.value, metadata, _time=event.time_ms)

    def _log(self, events: Sequence[SdkEvent]) -> None:
        """Queue the events for the SDK's next flush.

        The first goes through `log_event`, which also makes sure that the SDK's threads run. For each further event it
        would check that again and copy the same user: 11 µs an event, against 1 µs for putting it into the SDK's queue.
        """
        if not events:
            return
        first, *others = events
        self._server.log_event(first)
        if first.user is self._user:
            return  # log_event swallowed an exception; without the tier that it adds, events are billed as production
        user = first.to_dict()["user"]  # type: ignore[no-untyped-call]
        processor = self._server._logger.event_batch_processor  # noqa: SLF001 - checked by the contract test
        for event in others:
            body = {"user": user, "eventName": event.event_name, "metadata": event.metadata}
            body["time"] = event._time  # noqa: SLF001 - a parameter of its constructor
            if event.value is not None:
                body["value"] = event.value
            processor.add_event(body)  # type: ignore[no-untyped-call]

    def _flushed(
        self, success: bool, events: list[dict[str, Any]], status: int | None, error: Exception | None
    ) -> None:
        """Runs on the thread that called `flush()`, or on one of the SDK's for a batch that its timer cut."""
        outcome = classify(success, status, error, self._clock.now_nanos() / 1e9)
        with self._answered:
            for event in events:
                event_id = event.get("metadata", {}).get("event_id")
                if event_id in self._waiting_for:
                    self._waiting_for.discard(event_id)
                    self._outcomes[event_id] = outcome
            self._answered.notify_all()
        # Not during shutdown(): it retries nothing, and prints exceptions to stdout, where the log's JSON lines go.
        if outcome.verdict is not SendVerdict.CONFIRMED and not self._closing:
            raise _NotConfirmedError
