"""The processes' reports in memory."""

from datetime import timedelta

from shared.process.process_states import ProcessState, SeenProcess
from tests.support.fakes.memory_event_log import MemoryStore
from tests.support.fakes.scripted_failures import ScriptedFailures


class MemoryProcessStates:
    """ProcessStates on a MemoryStore."""

    def __init__(self, store: MemoryStore, *, failures: ScriptedFailures | None = None) -> None:
        self._store = store
        self.failures = failures or ScriptedFailures()

    async def report(self, state: ProcessState) -> None:
        async with self.failures.around("report"):
            self._store.processes[state.process_id] = (state, self._store.clock.now())

    async def seen(self) -> list[SeenProcess]:
        async with self.failures.around("seen"):
            now = self._store.clock.now()
            found = [SeenProcess(state, now - at) for state, at in self._store.processes.values()]
            kept = [each for each in found if each.seen_ago < timedelta(days=1)]
            return sorted(kept, key=lambda each: each.seen_ago)
