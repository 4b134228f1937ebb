"""What pages draw: where each bar begins and how high it is. Pure; the templates write the SVG."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from shared.events.accounting import HourlyAccount

STATES: Final = ("delivered", "pending", "dead", "unaccounted")
"""From the bottom of a bar to its top: what is well is the ground, and what is not stands out above it."""

HEIGHT: Final = 100.0
LEAST: Final = 2.0
"""The height of a state with any event at all: one dead event among a million must be seen."""

HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Part:
    """Events of one state in one bar. `y` is the distance of its upper edge from the top of the chart."""

    state: str
    events: int
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """One hour. `position` counts from the left, 0 being the first."""

    position: int
    hour: datetime
    accepted: int
    parts: tuple[Part, ...]

    def events_in(self, state: str) -> int:
        return next((part.events for part in self.parts if part.state == state), 0)


@dataclass(frozen=True, slots=True)
class Chart:
    bars: tuple[Bar, ...]
    most: int
    """The events that reach to the top: a round number, at least 1."""

    totals: Mapping[str, int]
    """By state, over all bars; and of the account's other counts."""


def account_chart(hours: Sequence[HourlyAccount], *, until: datetime, count: int) -> Chart:
    """A bar for each of the last `count` hours up to `until`; an hour that is missing had no event."""
    first = first_hour(until, count)
    by_hour = {each.hour: each for each in hours}
    all_hours = [first + HOUR * position for position in range(count)]
    most = rounded_up(max((each.accepted for each in hours), default=0))
    bars = [
        Bar(position, hour, 0 if (of := by_hour.get(hour)) is None else of.accepted, tuple(_parts(of, most)))
        for position, hour in enumerate(all_hours)
    ]
    names = (*STATES, "accepted", "forwarded_later", "possible_duplicates")
    return Chart(tuple(bars), most, {name: sum(getattr(each, name) for each in hours) for name in names})


def first_hour(until: datetime, count: int) -> datetime:
    """The beginning of the first of `count` hours, the last of which is that of `until`."""
    # Not `replace`, which the datetimes of the Spanner client do not survive.
    return datetime(until.year, until.month, until.day, until.hour, tzinfo=UTC) - HOUR * (count - 1)


def _parts(hour: HourlyAccount | None, most: int) -> Iterator[Part]:
    counts = {} if hour is None else {state: getattr(hour, state) for state in STATES}
    counts = {state: events for state, events in counts.items() if events > 0}
    heights = {state: max(LEAST, HEIGHT * events / most) for state, events in counts.items()}
    if (beyond := sum(heights.values()) - HEIGHT) > 0:
        heights[max(heights, key=lambda state: heights[state])] -= beyond
    y = HEIGHT
    for state, events in counts.items():
        y -= heights[state]
        yield Part(state, events, round(y, 2), round(heights[state], 2))


def rounded_up(value: int) -> int:
    """The next number that is 1, 2 or 5 with zeros after it."""
    if value <= 1:
        return 1
    ten = int(10 ** (len(str(value)) - 1))
    return next(step * ten for step in (1, 2, 5, 10) if step * ten >= value)


@dataclass(frozen=True, slots=True)
class Share:
    """A row of a chart of counts: `width` is in per cent of the longest row, at least 1 for anything at all."""

    name: str
    events: int
    width: float


def shares(counts: Mapping[str, int], *, most: int = 8) -> tuple[list[Share], int, int]:
    """The `most` largest, then how many others there are and how many events they have together."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    largest = ordered[0][1] if ordered else 0
    rows = [Share(name, events, max(1.0, round(100 * events / max(largest, 1), 1))) for name, events in ordered[:most]]
    return rows, len(ordered[most:]), sum(events for _, events in ordered[most:])
