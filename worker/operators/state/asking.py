"""Questions that may stay without an answer. An answer that is missing is shown as not known, never as zero."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import anyio

from shared.errors import EventLoggingError
from shared.process.settings import OperatorSettings
from worker.operators.failure_reasons import explained

T = TypeVar("T")

ANSWER_SECONDS: Final = 5.0
"""For one question. All questions of a screen are asked side by side, so the screen takes no longer."""

MARGIN_SECONDS: Final = 0.5
"""Added to ANSWER_SECONDS, so that the call's own timeout comes first: its error names the dependency."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Stands in place of an answer. Its text is `not known: WHY`."""

    why: str
    is_late: bool = False
    """Whether the answer did not come in time; otherwise the question failed."""

    def __str__(self) -> str:
        return f"not known: {self.why}"


async def answer_or_unknown(question: Callable[[], Awaitable[T]], settings: OperatorSettings) -> T | Unknown:
    """The answer; Unknown where it raises an EventLoggingError or takes longer than ANSWER_SECONDS and the margin."""
    try:
        with anyio.fail_after(ANSWER_SECONDS + MARGIN_SECONDS):
            return await question()
    except TimeoutError:
        return Unknown(f"no answer within {ANSWER_SECONDS + MARGIN_SECONDS:g} s", is_late=True)
    except EventLoggingError as error:
        return Unknown(explained(error, settings), is_late=isinstance(error.__cause__, TimeoutError))
