"""The codecs given to connectrpc: they encode answers, and put off the decoding of requests.

connectrpc decodes synchronously, and a LogEvents takes longer to decode than the event loop may be held. So `decode`
returns the body undecoded, and `ingress/interceptors/decoding.py` decompresses and decodes it in slices.
"""

from typing import Any

from connectrpc.codec import Codec, proto_binary_codec, proto_json_codec
from protobuf import Message

from ingress.decoding.binary_format import BinaryFormat
from ingress.decoding.json_format import JsonFormat
from ingress.decoding.undecoded import Format, Undecoded
from ingress.http.compression import Gzipped
from shared.gen.events.v1.event_logging_pb import LogEventsRequest


class LazyCodec(Codec[Message, Any]):
    """Encodes as another codec does; decodes to `Undecoded`."""

    def __init__(self, codec: Codec[Message, Any], request_format: Format) -> None:
        self._codec = codec
        self._format = request_format

    def name(self) -> str:
        return self._codec.name()

    def encode(self, message: Message) -> bytes:
        return self._codec.encode(message)

    def decode(self, data: bytes | bytearray, message_class: type[Any]) -> Any:
        return Undecoded(
            bytes(data),
            self._format,
            is_batch=message_class is LogEventsRequest,
            is_gzipped=isinstance(data, Gzipped),
        )


def lazy_codecs() -> tuple[LazyCodec, LazyCodec]:
    """Binary protobuf and JSON."""
    return LazyCodec(proto_binary_codec(), BinaryFormat()), LazyCodec(proto_json_codec(), JsonFormat())
