"""Bytes that have crashed the process: protobuf-py 0.7 overflows the C stack on JSON nested where a scalar belongs.

Each is decoded in a process of its own, since a segmentation fault would end the test run.
"""

import subprocess
import sys

import pytest

DEPTH = 100_000

BODIES = {
    "array at the top": 'b"[" * DEPTH',
    "closed array at the top": 'b"[" * DEPTH + b"]" * DEPTH',
    "array for a string": '''b'{"event_name":' + b"[" * DEPTH + b"]" * DEPTH + b"}"''',
    "objects for a string": '''b'{"event_name":' + b'{"a":' * DEPTH + b"1" + b"}" * DEPTH + b"}"''',
    "array for an object": '''b'{"metadata":' + b"[" * DEPTH + b"]" * DEPTH + b"}"''',
    "array for a timestamp": '''b'{"event_ts":' + b"[" * DEPTH + b"]" * DEPTH + b"}"''',
    "array for a boolean": '''b'{"forward_to_statsig":' + b"[" * DEPTH + b"]" * DEPTH + b"}"''',
    "array for an unknown field": '''b'{"x":' + b"[" * DEPTH + b"]" * DEPTH + b"}"''',
    "array in metadata": '''b'{"metadata":{"a":' + b"[" * DEPTH + b"]" * DEPTH + b"}}"''',
    "objects in metadata": '''b'{"metadata":' + b'{"a":' * DEPTH + b"1" + b"}" * DEPTH + b"}"''',
}


def run(program: str) -> str:
    # The programs are the literals above.
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)  # noqa: S603
    return done.stdout.strip() or f"exit code {done.returncode}, {done.stderr[-300:]}"


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_deeply_nested_json_is_refused_and_does_not_end_the_process(body: str) -> None:
    program = f"""
DEPTH = {DEPTH}
data = {body}
from connectrpc.errors import ConnectError
from ingress.codec import ExplainingJsonCodec
from shared.errors import UndecodableMessageError
from shared.forward_message import decode
from shared.gen.events.v1.event_logging_pb import LogEventRequest, LogEventsRequest
codes = []
for message in (LogEventRequest, LogEventsRequest):
    try:
        ExplainingJsonCodec().decode(data, message)
    except ConnectError as error:
        codes.append(error.code.value)
try:
    decode(data)
except UndecodableMessageError:
    codes.append("undecodable")
print(*codes)
"""
    assert run(program) == "invalid_argument invalid_argument undecodable"


@pytest.mark.parametrize("start", [b"\x7b", b"\x0b"])
def test_deeply_nested_binary_groups_are_refused_and_do_not_end_the_process(start: bytes) -> None:
    program = f"""
from connectrpc.errors import ConnectError
from ingress.codec import ExplainingBinaryCodec
from shared.gen.events.v1.event_logging_pb import LogEventRequest
try:
    ExplainingBinaryCodec().decode({start!r} * {DEPTH}, LogEventRequest)
except ConnectError as error:
    print(error.code.value)
"""
    assert run(program) == "invalid_argument"
