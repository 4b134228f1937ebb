"""An HTTP/2 client that sends single frames, made of parts of the h2 package."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final, Self

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, ResponseReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes
from hpack import Encoder
from hyperframe.frame import ContinuationFrame, HeadersFrame, PingFrame, RstStreamFrame

from tests.support.wire.http1 import LOG_EVENT, SECONDS

CANCEL: Final = 8
GOAWAY: Final = 7
FRAME_HEAD_BYTES: Final = 9
FRAMES_AT_ONCE: Final = 100


class Http2Connection:
    """Begins with the preface and SETTINGS. Methods raise TimeoutError where the server does not answer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, window: int | None) -> None:
        self._reader = reader
        self._writer = writer
        self._h2 = H2Connection(H2Configuration(header_encoding=None))
        self._h2.initiate_connection()
        if window is not None:
            self._h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: window})
        self._ended: dict[int, int | None] = {}
        self._statuses: dict[int, int] = {}
        self._received = b""
        self._is_closed = False
        self.was_told_to_go = False
        self._flush()

    @classmethod
    async def open(cls, port: int, *, window: int | None = None) -> Self:
        """`window` is the initial flow-control window of the server's answers, in bytes."""
        return cls(*await asyncio.open_connection("127.0.0.1", port), window)

    def begin(
        self, body: bytes, headers: Mapping[str, str] | None = None, *, path: str = LOG_EVENT, ends: bool = True
    ) -> int:
        stream = self._h2.get_next_available_stream_id()
        self._h2.send_headers(stream, _head(path, headers))
        self._h2.send_data(stream, body, end_stream=ends)
        self._flush()
        return stream

    async def status(self, stream: int) -> int | None:
        """The status of the complete answer, or None where there is none."""
        async with asyncio.timeout(SECONDS):
            while stream not in self._ended and not self._is_closed:
                await self._receive()
        return self._ended.get(stream)

    async def call(self, body: bytes) -> int | None:
        return await self.status(self.begin(body))

    async def seconds_until_closed(self, patience_seconds: float) -> float:
        started = time.monotonic()
        async with asyncio.timeout(patience_seconds):
            while not self._is_closed:
                await self._receive()
        return time.monotonic() - started

    def send_headers_without_end(self) -> None:
        frame = HeadersFrame(1)
        frame.data = Encoder().encode(_head(LOG_EVENT, None))
        self._writer.write(frame.serialize())

    async def continue_headers(self, *, frames: int) -> None:
        frame = ContinuationFrame(1)
        frame.data = Encoder().encode([("x", "y" * 500)])
        await self._send_many([frame.serialize()] * frames)

    async def begin_and_reset(self, *, streams: int) -> None:
        encoder = Encoder()
        sent = []
        for stream in range(1, 2 * streams, 2):
            head = HeadersFrame(stream, flags=["END_HEADERS"])
            head.data = encoder.encode(_head(LOG_EVENT, None))
            sent.append(head.serialize() + RstStreamFrame(stream, CANCEL).serialize())
        await self._send_many(sent)

    async def ping(self, *, frames: int) -> None:
        await self._send_many([PingFrame(0, b"12345678").serialize()] * frames)

    async def close(self) -> None:
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except ConnectionError:
            return

    async def _send_many(self, frames: list[bytes]) -> None:
        """Sends until all is sent or the server has closed."""
        for sent in range(0, len(frames), FRAMES_AT_ONCE):
            self._writer.write(b"".join(frames[sent : sent + FRAMES_AT_ONCE]))
            try:
                async with asyncio.timeout(SECONDS):
                    await self._writer.drain()
            except ConnectionError:
                return

    async def _receive(self) -> None:
        try:
            data = await self._reader.read(65_536)
        except ConnectionError:
            data = b""
        if not data:
            self._is_closed = True
            return
        self._received += data
        while frame := self._next_frame():
            if frame[3] == GOAWAY:
                self.was_told_to_go = True  # h2 would accept no frame after GOAWAY, although answers may still come
                continue
            for event in self._h2.receive_data(frame):
                self._note(event)
        self._flush()

    def _next_frame(self) -> bytes:
        end = FRAME_HEAD_BYTES + int.from_bytes(self._received[:3])
        if len(self._received) < max(end, FRAME_HEAD_BYTES):
            return b""
        frame, self._received = self._received[:end], self._received[end:]
        return frame

    def _note(self, event: Event) -> None:
        match event:
            case ResponseReceived(stream_id=stream, headers=headers):
                self._statuses[stream] = int(dict(headers)[b":status"])
            case DataReceived(stream_id=stream, flow_controlled_length=length):
                self._h2.acknowledge_received_data(length, stream)
            case StreamEnded(stream_id=stream):
                self._ended[stream] = self._statuses[stream]
            case StreamReset(stream_id=stream):
                # After a whole answer RST_STREAM only refuses the rest of the request.
                self._ended.setdefault(stream, self._statuses.get(stream))

    def _flush(self) -> None:
        self._writer.write(self._h2.data_to_send())


def _head(path: str, headers: Mapping[str, str] | None) -> list[tuple[str, str]]:
    return [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "test"),
        (":path", path),
        ("content-type", "application/json"),
        *(headers or {}).items(),
    ]


@asynccontextmanager
async def http2_connection(port: int, *, window: int | None = None) -> AsyncIterator[Http2Connection]:
    opened = await Http2Connection.open(port, window=window)
    try:
        yield opened
    finally:
        await opened.close()
