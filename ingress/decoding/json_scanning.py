"""Finds where the events of a LogEvents in JSON begin and end, by brackets alone, without building values.

What an event's brackets enclose is not checked here: decoding the event shows whether it is JSON. Fields beside the
events are checked here, since nothing else reads them.
"""

import json
import re
from collections.abc import Iterator
from typing import Final

from ingress.decoding.undecoded import MAX_EVENTS, MAX_UNKNOWN_FIELDS, NotInFormatError, RawEvent, Steps
from shared.errors import FieldViolation, InvalidEventError, MalformedRequestError, RequestTooLargeError
from shared.events.json_nesting import is_nested_too_deeply
from shared.gen.events.v1.event_logging_pb import LogEventsRequest

WINDOW_BYTES: Final = 128 * 1024
"""The most bytes searched at once for the next bracket: twice what metadata may have, which takes a millisecond. A
longer text is skipped in steps."""

TOKENS_PER_STEP: Final = 500
"""The most brackets and long texts between two opportunities to pause."""

BYTES_PER_STEP: Final = 64 * 1024
"""The most bytes between two opportunities to pause, but for one text or number: half a millisecond."""

_SPACE: Final = rb"[ \t\n\r]*+"
_TEXT: Final = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_SPACES = re.compile(_SPACE)
_OPENING = re.compile(_SPACE + rb"\{" + _SPACE)
_NAME = re.compile(rb"(" + _TEXT + rb")" + _SPACE + rb":" + _SPACE, re.DOTALL)
_VALUE_START = re.compile(rb'[\["{0-9tfn-]')
_SCALAR = re.compile(rb"[^ \t\n\r\"\[\]{},:]++")
_BRACKET = re.compile(rb'(?:[^"\[\]{}]++|' + _TEXT + rb")*+[\[\]{}]", re.DOTALL)
_PART_OF_TEXT = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_QUOTE_OR_BRACKET = re.compile(rb'["\[\]{}]')
_NEXT = re.compile(_SPACE + rb"([,\]}])" + _SPACE)
_END = re.compile(_SPACE + rb"\Z")

_EVENTS: Final = LogEventsRequest.desc().fields[0].name


class Scanner:
    """Scans one body, once. `max_tokens` bounds its brackets and long texts.

    Its methods raise NotInFormatError if the body is not JSON, and other EventLoggingErrors if it is no LogEvents or
    too large. `_position` is what comes next.
    """

    def __init__(self, data: bytes, max_tokens: int) -> None:
        self._data = data
        self._tokens_left = max_tokens
        self._position = 0
        self._pauses_at = BYTES_PER_STEP

    def events(self) -> Iterator[RawEvent | None]:
        """See `Format.split`."""
        places: list[tuple[int, int]] = []
        self._open()
        more = not self._skip(b"}")
        fields = 0
        while more:
            fields += 1
            if fields > MAX_UNKNOWN_FIELDS:
                raise RequestTooLargeError("has too many unknown fields")
            if self._name() == _EVENTS:
                places = yield from self._events()
                if len(places) > MAX_EVENTS:
                    break
            else:
                yield from self._unknown()
            more = self._after_value(b"}")
        else:
            if not _END.match(self._data, self._position):
                raise NotInFormatError("", self._position)
        for start, end in places:
            yield RawEvent(self._data[start:end], start)

    def _open(self) -> None:
        opening = _OPENING.match(self._data)
        if opening is None:
            self._skip_spaces()
            if _VALUE_START.match(self._data, self._position):
                raise MalformedRequestError("must be a JSON object")
            raise NotInFormatError("", self._position)
        self._position = opening.end()

    def _skip(self, character: bytes) -> bool:
        if not self._data.startswith(character, self._position):
            return False
        self._position += len(character)
        return True

    def _skip_spaces(self) -> None:
        found = _SPACES.match(self._data, self._position)
        self._position = found.end() if found else self._position

    def _name(self) -> str:
        name = _NAME.match(self._data, self._position)
        if name is None:
            raise NotInFormatError("", self._position)
        try:
            text: str = json.loads(name[1].decode())
        except UnicodeDecodeError:
            raise NotInFormatError("is not valid UTF-8") from None
        except json.JSONDecodeError:
            raise NotInFormatError("", self._position) from None
        self._position = name.end()
        return text

    def _events(self) -> Steps[list[tuple[int, int]]]:
        """The start and end of each item of the list, at most MAX_EVENTS + 1."""
        places: list[tuple[int, int]] = []
        if self._skip(b"null"):
            return places
        if not self._skip(b"["):
            if not _VALUE_START.match(self._data, self._position):
                raise NotInFormatError("", self._position)
            raise InvalidEventError((FieldViolation(_EVENTS, "type", "must be a list of events"),))
        self._skip_spaces()
        if self._skip(b"]"):
            return places
        while True:
            start = self._position
            yield from self._value()
            places.append((start, self._position))
            if len(places) > MAX_EVENTS or not self._after_value(b"]"):
                return places

    def _unknown(self) -> Steps[None]:
        """Skip the value of an unknown field, and check that it is JSON."""
        start = self._position
        yield from self._value()
        value = self._data[start : self._position]
        if is_nested_too_deeply(value):
            raise MalformedRequestError("is nested too deeply")
        yield
        try:
            LogEventsRequest.from_json(b'{"":' + value + b"}", ignore_unknown_fields=True)
        except (ValueError, TypeError, RecursionError, OverflowError, MemoryError):
            raise NotInFormatError("", start) from None

    def _after_value(self, end: bytes) -> bool:
        """Go past the comma or the end of the list or object. Whether another value follows."""
        found = _NEXT.match(self._data, self._position)
        if found is None or found[1] not in (b",", end):
            raise NotInFormatError("", self._position)
        self._position = found.end()
        return found[1] == b","

    def _value(self) -> Steps[None]:
        """Skip one value."""
        start = self._position
        if self._data.startswith((b"{", b"["), start):
            yield from self._container()
        elif self._skip(b'"'):
            yield from self._text()
        elif scalar := _SCALAR.match(self._data, start):
            self._position = scalar.end()
        else:
            raise NotInFormatError("", start)

    def _container(self) -> Steps[None]:
        start = self._position
        levels = 0
        while True:
            bracket = _BRACKET.match(self._data, self._position, self._position + WINDOW_BYTES)
            if bracket is None:
                yield from self._far_bracket(start)
            else:
                self._position = bracket.end()
            levels += 1 if self._data[self._position - 1] in b"[{" else -1
            if not levels:
                return
            if self._take_token():
                yield

    def _far_bracket(self, start: int) -> Steps[None]:
        """Go past the next bracket, which is not within the window. `start` is the container's, for the error."""
        while found := _QUOTE_OR_BRACKET.search(self._data, self._position):
            self._position = found.end()
            if found[0] != b'"':
                return
            yield from self._text()
            self._take_token()
            yield
        raise NotInFormatError("", start)

    def _text(self) -> Steps[None]:
        """Skip a text, from behind its opening quote to behind its closing one."""
        start = self._position
        while part := _PART_OF_TEXT.match(self._data, self._position, self._position + WINDOW_BYTES):
            self._position = part.end()
            if self._skip(b'"'):
                return
            if not part[0]:
                break
            yield
        raise NotInFormatError("", start - 1)

    def _take_token(self) -> bool:
        """Count a bracket or a long text. Whether it is time to pause."""
        self._tokens_left -= 1
        if self._tokens_left < 0:
            raise RequestTooLargeError("has too many values")
        if self._position >= self._pauses_at:
            self._pauses_at = self._position + BYTES_PER_STEP
            return True
        return self._tokens_left % TOKENS_PER_STEP == 0
