"""The behaviours: what the stand-in does with a request on command, as validated values; pure."""

import re
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeFloat, PositiveFloat, model_validator

FRAMING_HEADERS: Final = frozenset({"connection", "content-length", "transfer-encoding"})
"""Headers that mark where an answer ends; a rule that set them would break the connection, not the answer."""

_HEADER_LINE: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+: [\t\x20-\x7e]*")


def event_id_of(event: dict[str, Any]) -> str | None:
    """The id that the worker puts into an event's metadata; None if there is none."""
    metadata = event.get("metadata")
    event_id = metadata.get("event_id") if isinstance(metadata, dict) else None
    return event_id if isinstance(event_id, str) else None


class Spec(BaseModel):
    """Strict, and without extra fields: a misspelt rule is refused instead of doing nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Status(Spec):
    """Answer with this status. `accept` says whether the events are kept; unset, those of a 2xx are.

    They are kept before any delay.
    """

    kind: Literal["status"] = "status"
    status: int = Field(ge=200, le=599)
    headers: dict[str, str] = Field(default_factory=dict)
    body: str | None = None
    accept: bool | None = None
    delay_seconds: Annotated[NonNegativeFloat, FiniteFloat] = 0.0
    breaks_off: bool = False
    """Send the head and half of the body that it announces, then close."""

    @model_validator(mode="after")
    def _headers_leave_the_framing_alone(self) -> Self:
        for name, value in self.headers.items():
            if name.lower() in FRAMING_HEADERS:
                raise ValueError(f"header {name!r} is the stand-in's own")
            if not _HEADER_LINE.fullmatch(f"{name}: {value}"):
                raise ValueError(f"header {name!r} cannot be sent")
        return self

    @property
    def accepts(self) -> bool:
        return 200 <= self.status < 300 if self.accept is None else self.accept  # noqa: PLR2004 - what 2xx means

    def describe(self) -> str:
        return (
            f"answering {self.status}"
            + (f" after {self.delay_seconds:g} s" if self.delay_seconds else "")
            + (", broken off" if self.breaks_off else "")
            + ("" if self.accept is None else self._kept_or_not())
        )

    def _kept_or_not(self) -> str:
        return ", events kept" if self.accepts else ", events not kept"


class Hang(Spec):
    """Read the request and never answer it."""

    kind: Literal["hang"] = "hang"
    accept: bool = False

    @property
    def accepts(self) -> bool:
        return self.accept

    def describe(self) -> str:
        return "never answering" + (", events kept" if self.accept else "")


class Reset(Spec):
    """Break the connection with a TCP RST, as soon as the headers are in or after the whole request was read."""

    kind: Literal["reset"] = "reset"
    when: Literal["before_read", "after_read"] = "after_read"
    accept: bool = False

    @model_validator(mode="after")
    def _keeps_only_what_it_reads(self) -> Self:
        if self.accept and self.when == "before_read":
            raise ValueError("events that were not read cannot be accepted")
        return self

    @property
    def accepts(self) -> bool:
        return self.accept

    def describe(self) -> str:
        return f"resetting connections {self.when.replace('_', ' ')}" + (", events kept" if self.accept else "")


class Slow(Spec):
    """Keep the events at once, answer 202 later."""

    kind: Literal["slow"] = "slow"
    delay_seconds: Annotated[NonNegativeFloat, FiniteFloat]

    @property
    def accepts(self) -> bool:
        return True

    def describe(self) -> str:
        return f"answering after {self.delay_seconds:g} s"


class Drip(Spec):
    """Keep the events, then answer 202 with one byte of the body per gap: no single read is slow, the whole is."""

    kind: Literal["drip"] = "drip"
    gap_seconds: Annotated[PositiveFloat, FiniteFloat]

    @property
    def accepts(self) -> bool:
        return True

    def describe(self) -> str:
        return f"answering one byte per {self.gap_seconds:g} s"


Behaviour = Status | Hang | Reset | Slow | Drip

ACCEPT: Final = Status(status=202)
"""What happens where no rule applies."""
