"""The table of complaints in memory."""

from collections import Counter
from collections.abc import Sequence

from shared.events.complaints import (
    OTHER,
    Complaint,
    ComplaintChoice,
    ComplaintKind,
    ComplaintSums,
    HourlyCount,
    KindTotal,
)
from tests.support.fakes.memory_event_log import MemoryStore
from tests.support.fakes.scripted_failures import ScriptedFailures


class MemoryComplaintTable:
    """ComplaintTable on a MemoryStore."""

    def __init__(self, store: MemoryStore, *, failures: ScriptedFailures | None = None) -> None:
        self._store = store
        self.failures = failures or ScriptedFailures()

    async def write(self, process_id: str, counts: Sequence[HourlyCount]) -> None:
        async with self.failures.around("write_complaints"):
            self._store.complaints |= {(process_id, each.hour, each.place): each for each in counts}

    async def summed(self, choice: ComplaintChoice, *, limit: int) -> ComplaintSums:
        async with self.failures.around("sum_complaints"):
            since = choice.since.replace(minute=0, second=0, microsecond=0)
            summed: Counter[Complaint] = Counter()
            for each in self._store.complaints.values():
                if each.hour >= since and _is_chosen(each.complaint, choice):
                    summed[each.complaint] += each.events
            ranked = sorted(summed.items(), key=lambda item: (-item[1], item[0]))
            kinds = [kind for kind in ComplaintKind if any(each.kind is kind for each in summed)]
            return ComplaintSums(ranked[:limit], {kind: _total(summed, kind) for kind in kinds})


def _is_chosen(complaint: Complaint, choice: ComplaintChoice) -> bool:
    return (
        choice.kind in (None, complaint.kind)
        and (choice.caller is None or complaint.caller in (choice.caller, OTHER))
        and (choice.event_name is None or complaint.event_name in (choice.event_name, OTHER))
    )


def _total(summed: Counter[Complaint], kind: ComplaintKind) -> KindTotal:
    of_kind = {each: events for each, events in summed.items() if each.kind is kind}
    other = sum(events for each, events in of_kind.items() if each.event_name == OTHER)
    return KindTotal(sum(of_kind.values()), other, len(of_kind))
