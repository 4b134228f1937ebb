"""Operators' levers on a whole worker: pauses and resumes forwarding, and probes at once, as the rules say."""

from typing import Final

import anyio

from shared.events.rules import RuleAction
from shared.process.current_rules import CurrentRules
from worker.circuit import Circuit

CHECK_SECONDS: Final = 0.5
"""A pause also ends when it expires, which no read tells."""


class Levers:
    """One per worker process; for the event loop's thread."""

    def __init__(self, rules: CurrentRules, circuit: Circuit) -> None:
        self._rules = rules
        self._circuit = circuit
        # Probes that were asked for before this process started are not for it: its circuit is closed.
        self._probed = {rule.rule_id for rule in rules.active.of(RuleAction.PROBE)}

    async def run_forever(self) -> None:
        """Apply the rules after each read, until cancelled."""
        while True:
            self.apply()
            with anyio.move_on_after(CHECK_SECONDS):
                await self._rules.wait_read()

    def apply(self) -> None:
        """Pause or resume, and probe once for each rule that asks for it."""
        active = self._rules.active
        if active.of(RuleAction.PAUSE):
            self._circuit.pause()
        else:
            self._circuit.resume()
        asked = {rule.rule_id for rule in active.of(RuleAction.PROBE)}
        if asked - self._probed:
            self._circuit.probe_now()
        self._probed = asked
