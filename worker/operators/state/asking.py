"""Questions that may go without an answer: what could not be asked is told as not known, never as nothing."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import anyio

from shared.errors import EventLoggingError
from shared.process.settings import OperatorSettings
from worker.operators.failure_reasons import explained

T = TypeVar("T")

ANSWER_SECONDS: Final = 5.0
"""For one question. They are asked side by side, so a screen takes no longer, whatever hangs."""

MARGIN_SECONDS: Final = 0.5
"""The bound of a call itself comes first: it says whose answer is missing."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """In place of an answer."""

    why: str
    is_late: bool = False
    """It took too long, for whatever reason."""

    def __str__(self) -> str:
        return f"not known: {self.why}"


async def asked(question: Callable[[], Awaitable[T]], settings: OperatorSettings) -> T | Unknown:
    """The answer, or why there is none."""
    try:
        with anyio.fail_after(ANSWER_SECONDS + MARGIN_SECONDS):
            return await question()
    except TimeoutError:
        return Unknown(f"no answer within {ANSWER_SECONDS + MARGIN_SECONDS:g} s", is_late=True)
    except EventLoggingError as error:
        return Unknown(explained(error, settings), is_late=isinstance(error.__cause__, TimeoutError))
