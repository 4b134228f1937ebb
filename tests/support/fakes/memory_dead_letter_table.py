"""The dead-letter table in memory."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import fields, replace
from datetime import datetime

from shared.events.dead_letter_table import (
    Closing,
    DeadLetterRow,
    DeadLetterSummary,
    LetterChoice,
    LetterCount,
    LetterKind,
    Mismatch,
    counted,
)
from shared.events.forward_ledger import ForwardState
from tests.support.fakes.memory_event_log import MemoryStore
from tests.support.fakes.scripted_failures import ScriptedFailures

_SUMMARY = [each.name for each in fields(DeadLetterSummary)]


class MemoryDeadLetterTable:
    """DeadLetterTable on a MemoryStore."""

    def __init__(self, store: MemoryStore, *, failures: ScriptedFailures | None = None) -> None:
        self._store = store
        self.failures = failures or ScriptedFailures()

    async def collect(self, letters: Sequence[DeadLetterRow]) -> int:
        if not letters:
            return 0  # no call to Spanner
        async with self.failures.around("collect"):
            new = [each for each in letters if self._collect(each)]
            return len(new)

    def _collect(self, letter: DeadLetterRow) -> bool:
        key = (letter.subject, letter.message_id)
        if key in self._store.letters:
            return False
        if letter.event_id in self._store.erased and letter.event_id not in self._store.ledger:
            return False
        logged = self._store.log.get(letter.event_id or "")
        caller = None if logged is None else logged.event.caller
        kept = replace(letter, caller=caller, collected_at=self._store.clock.now())
        self._store.letters[key] = kept
        rivals = [each for each in self._store.letters.values() if each.subject == letter.subject and each.is_open]
        latest = max(rivals, key=lambda each: (each.dead_at, each.message_id))
        if (by := self._ended(letter)) is not None:
            self._close(kept, by)
            return True
        for rival in rivals:
            if rival is not latest:
                self._close(rival, Closing.SUPERSEDED)
        return True

    def _ended(self, letter: DeadLetterRow) -> Closing | None:
        row = self._store.ledger.get(letter.subject)
        if row is None or letter.kind is LetterKind.POISON:
            return None
        if row.state == ForwardState.DELIVERED:
            return Closing.DELIVERED
        if (
            row.state == ForwardState.PENDING
            and row.replays
            and row.pending_since
            and row.pending_since > letter.dead_at
        ):
            return Closing.REPLAYED
        return None

    async def count(self, choice: LetterChoice, *, ages: Sequence[datetime]) -> list[LetterCount]:
        return counted(await self.open(choice), ages)

    async def open(
        self,
        choice: LetterChoice,
        *,
        limit: int | None = None,
        newest: bool = False,
        after: tuple[datetime, str] | None = None,
    ) -> list[DeadLetterSummary]:
        async with self.failures.around("open"):
            found = [each for each in self._store.letters.values() if each.is_open and choice.takes(each)]
            found.sort(key=lambda each: (each.dead_at, each.subject), reverse=newest)
            if after is not None:
                found = [each for each in found if ((each.dead_at, each.subject) < after) is newest]
                found = [each for each in found if (each.dead_at, each.subject) != after]
            return [DeadLetterSummary(**{name: getattr(each, name) for name in _SUMMARY}) for each in found[:limit]]

    async def of(self, subjects: Collection[str]) -> dict[str, list[DeadLetterRow]]:
        async with self.failures.around("of"):
            found: dict[str, list[DeadLetterRow]] = defaultdict(list)
            for each in sorted(self._store.letters.values(), key=lambda each: (each.dead_at, each.message_id)):
                if each.subject in subjects:
                    found[each.subject].append(each)
            return dict(found)

    async def close(self, subjects: Collection[str], by: Closing) -> int:
        async with self.failures.around("close"):
            found = [each for each in self._store.letters.values() if each.is_open and each.subject in subjects]
            for each in found:
                self._close(each, by)
            return len(found)

    async def mismatch(self) -> Mismatch:
        dead, letters = self._dead(), self._with_letter()
        return Mismatch(len(dead - letters), len(letters - dead))

    async def dead_without_letter(self, *, after: str = "", limit: int) -> list[str]:
        return [each for each in sorted(self._dead() - self._with_letter()) if each > after][:limit]

    def _dead(self) -> set[str]:
        return {row.event_id for row in self._store.ledger.values() if row.state == ForwardState.DEAD}

    def _with_letter(self) -> set[str]:
        letters = self._store.letters.values()
        return {each.subject for each in letters if each.is_open and each.kind is not LetterKind.POISON}

    def _close(self, letter: DeadLetterRow, by: Closing) -> None:
        key = (letter.subject, letter.message_id)
        self._store.letters[key] = replace(letter, closed_at=self._store.clock.now(), closed_by=by)
