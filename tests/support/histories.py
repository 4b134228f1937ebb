"""Whether a ledger row's history agrees with its counts."""

from shared.events.attempt_history import KEPT_ENTRIES, History, HistoryKind
from worker.statsig.outcome import SendVerdict


def explains(history: History, attempts: int, possible_duplicates: int) -> bool:
    """Whether each counted attempt and possible duplicate has its entry, unless older entries were dropped."""
    if len(history) == KEPT_ENTRIES:
        return True
    tried = [entry for entry in history if entry.kind is HistoryKind.ATTEMPT]
    unknown = [e for e in history if e.kind is HistoryKind.TAKE_OVER or e.verdict == SendVerdict.AMBIGUOUS]
    return len(tried) == attempts and len(unknown) == possible_duplicates
