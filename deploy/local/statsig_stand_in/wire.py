"""HTTP as bytes: encodes responses and decodes request bodies; pure."""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, NoReturn

BODY_LIMIT: Final = 16 * 1024 * 1024
"""Bytes of a request body, both as sent and unpacked."""

_BODILESS: Final = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})


class RefusedRequestError(Exception):
    """The request cannot be served; the message is one line for the client."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)

    def head(self, *, keep_alive: bool) -> bytes:
        lines = [f"HTTP/1.1 {self.status} {_reason(self.status)}"]
        if self.status not in _BODILESS:
            lines.append(f"Content-Length: {len(self.body)}")
            if "content-type" not in {name.lower() for name in self.headers}:
                lines.append(f"Content-Type: {self.content_type}")
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        lines.append(f"Connection: {'keep-alive' if keep_alive else 'close'}")
        return "\r\n".join([*lines, "\r\n"]).encode("latin-1")

    @property
    def payload(self) -> bytes:
        return b"" if self.status in _BODILESS else self.body


def json_response(status: int, value: Any) -> Response:
    return Response(status, json.dumps(value, separators=(",", ":")).encode())


def refusal(error: RefusedRequestError) -> Response:
    return json_response(error.status, {"success": False, "error": str(error)})


def unpack(body: bytes, encoding: str) -> bytes:
    """The body without its Content-Encoding.

    Raises:
        RefusedRequestError: the encoding is unknown, the body damaged, or larger than the limit once unpacked.
    """
    if encoding in {"", "identity"}:
        return body
    if encoding != "gzip":
        raise RefusedRequestError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"Content-Encoding {encoding!r} is not gzip")
    gzip = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        unpacked = gzip.decompress(body, BODY_LIMIT + 1)
    except zlib.error as error:
        raise RefusedRequestError(HTTPStatus.BAD_REQUEST, f"the body is not gzip: {error}") from error
    if len(unpacked) > BODY_LIMIT:
        raise RefusedRequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {BODY_LIMIT} bytes unpacked")
    if not gzip.eof or gzip.unused_data:
        raise RefusedRequestError(HTTPStatus.BAD_REQUEST, "the body is not one whole gzip stream")
    return unpacked


def decode_events(body: bytes) -> list[dict[str, Any]]:
    """Read the `events` of a log_event payload.

    Raises:
        RefusedRequestError: the body is not strict JSON, or has no list of events.
    """
    try:
        payload = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise RefusedRequestError(HTTPStatus.BAD_REQUEST, f"the body is not JSON: {error}") from error
    events = payload.get("events") if isinstance(payload, dict) else None
    if not isinstance(events, list) or not all(isinstance(event, dict) for event in events):
        raise RefusedRequestError(HTTPStatus.BAD_REQUEST, "the body has no list of events")
    return events


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON value")


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unassigned"
