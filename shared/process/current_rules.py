"""The operators' rules as one process knows them: read when it starts, and again every REFRESH_SECONDS.

While Spanner does not answer the last known rules stand; each still ends when it expires.
"""

from datetime import datetime, timedelta
from typing import Final

import anyio
import stamina

from shared.clock import Clock
from shared.errors import StorageUnavailableError
from shared.events.rule_table import ReadRules, RuleTable
from shared.events.rules import NO_RULES, Rule, RuleSet
from shared.process.logs import get_logger

REFRESH_SECONDS: Final = 2.0
"""Between two reads of a few rows. README says how soon a rule applies: this, and the time of a read."""

FRESH_SECONDS: Final = 6.0
"""Two reads in a row may fail before the rules are no longer fresh. What depends on every process's knowing that a rule
has ended waits for longer than this."""

START_TIMEOUT_SECONDS: Final = 30.0
"""How long a start waits for the rules before it fails; as for the schema (shared/spanner/schema.py)."""

_log = get_logger()


class CurrentRules:
    """The rules of one process, none before `load`; for the event loop's thread."""

    def __init__(self, table: RuleTable, clock: Clock) -> None:
        self._table = table
        self._clock = clock
        self._rules: tuple[Rule, ...] = ()
        self._active = NO_RULES
        self._active_until = float("inf")
        self._read_at = self._answered_at = float("-inf")
        self._spanner_time: datetime | None = None
        self._is_failing = False
        self._read = anyio.Event()

    @property
    def active(self) -> RuleSet:
        """The rules that apply now."""
        if self._clock.monotonic() >= self._active_until:
            self._activate()
        return self._active

    @property
    def known(self) -> tuple[Rule, ...]:
        """All rules of the last read, also those that have ended and are to be swept."""
        return self._rules

    @property
    def now(self) -> datetime | None:
        """Spanner's time, by the last read; None before the first. Late by the time of the answer, never early."""
        if self._spanner_time is None:
            return None
        return self._spanner_time + timedelta(seconds=self._clock.monotonic() - self._answered_at)

    @property
    def are_fresh(self) -> bool:
        """Whether they were read within FRESH_SECONDS: a rule that has ended before that is not among them."""
        return self._clock.monotonic() - self._read_at <= FRESH_SECONDS

    async def load(self) -> None:
        """Read them for the first time; retry while Spanner does not answer.

        Raises:
            StorageUnavailableError: no answer within START_TIMEOUT_SECONDS.
        """
        async for attempt in stamina.retry_context(
            on=StorageUnavailableError, attempts=None, timeout=START_TIMEOUT_SECONDS
        ):
            with attempt:
                await self._refresh()

    async def refresh_until(self, stopping: anyio.Event) -> None:
        """Read them at intervals, until `stopping` is set. Never raises: what fails is logged once, and tried again."""
        while not stopping.is_set():
            with anyio.move_on_after(REFRESH_SECONDS):
                await stopping.wait()
            try:
                await self._refresh()
            except StorageUnavailableError as error:
                if not self._is_failing:  # only the first of several: Spanner is away, which the work logs too
                    _log.warning("rules_not_read", error=str(error))
                self._is_failing = True
            except Exception:  # noqa: BLE001 - a bug here must not end the process
                _log.exception("rules_crashed")
            else:
                self._is_failing = False

    async def wait_read(self) -> None:
        """Return after the next read."""
        await self._read.wait()

    async def _refresh(self) -> None:
        began = self._clock.monotonic()
        read = await self._table.read()
        self._take(read, began)

    def _take(self, read: ReadRules, began: float) -> None:
        before = {rule.rule_id for rule in self._rules}
        self._rules = read.rules
        # Fresh from before the read, so that they never look fresher than they are.
        self._read_at, self._spanner_time, self._answered_at = began, read.at, self._clock.monotonic()
        self._activate()
        for rule in read.rules:
            if rule.rule_id not in before and rule.is_active(read.at):
                _log.info("rule_applies", rule_id=rule.rule_id, action=rule.action.value)
        for rule_id in before - {rule.rule_id for rule in read.rules}:
            _log.info("rule_ended", rule_id=rule_id)
        self._read.set()
        self._read = anyio.Event()

    def _activate(self) -> None:
        now = self.now
        if now is None:
            return
        active = [rule for rule in self._rules if rule.is_active(now)]
        self._active = RuleSet(active) if active else NO_RULES
        next_end = min((rule.ends_at for rule in active), default=None)
        left = float("inf") if next_end is None else (next_end - now).total_seconds()
        self._active_until = self._clock.monotonic() + left
