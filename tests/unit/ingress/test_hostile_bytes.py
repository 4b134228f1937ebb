"""Bytes that have crashed the process: protobuf-py 0.7 overflows the C stack on JSON nested where a scalar belongs.

Each is decoded in a process of its own, since a segmentation fault would end the test run.
"""

import subprocess
import sys

import pytest

PROGRAM = """
import os, sys
from shared.errors import EventLoggingError, UndecodableMessageError
from shared.events.forward_message import decode
from tests.support.wire.decoding import BINARY, decode_event, decode_events

ARRAY = b"[" * 100_000 + b"]" * 100_000
OBJECT = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
BODIES = {
    "an open array at the top": b"[" * 100_000,
    "an array at the top": ARRAY,
    "an array for a string": b'{"event_name":' + ARRAY + b"}",
    "an object for a string": b'{"event_name":' + OBJECT + b"}",
    "an array for an object": b'{"metadata":' + ARRAY + b"}",
    "an array for a timestamp": b'{"event_ts":' + ARRAY + b"}",
    "an array for a boolean": b'{"forward_to_statsig":' + ARRAY + b"}",
    "an array for a list": b'{"events":' + ARRAY + b"}",
    "an array for an unknown field": b'{"x":' + ARRAY + b"}",
    "an array in metadata": b'{"metadata":{"a":' + ARRAY + b"}}",
    "an object in metadata": b'{"metadata":' + OBJECT + b"}",
}

def refused(body, decode_body):
    # Whole, or event by event.
    try:
        return all(isinstance(event, EventLoggingError) for event in decode_body(body))
    except EventLoggingError:
        return True

def refused_as_json(body):
    batch = b'{"events":[' + body + b"]}"
    bodies = [(body, lambda data: [decode_event(data)]), (body, decode_events), (batch, decode_events)]
    if not all(refused(*each) for each in bodies):
        return False
    try:
        decode(body)
    except UndecodableMessageError:
        return True
    return False

def refused_as_binary(body):
    try:
        decode_event(body, BINARY)
    except EventLoggingError:
        return True
    return False

def attempt(name, refused, body):
    child = os.fork()
    if child == 0:
        os._exit(0 if refused(body) else 1)
    _, status = os.waitpid(child, 0)
    word = {0: "refused", 1: "accepted"}.get(os.waitstatus_to_exitcode(status), "crashed")
    print(name, word, sep="\\t")

for name, body in BODIES.items():
    attempt(name, refused_as_json, body)
attempt("a binary group", refused_as_binary, b"\\x7b" * 100_000)
attempt("a binary group of a known field", refused_as_binary, b"\\x0b" * 100_000)
"""


@pytest.fixture(scope="module")
def outcomes() -> dict[str, str]:
    """What became of each; one process imports and forks, because importing takes half a second."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=50, check=True)
    return dict(line.split("\t") for line in done.stdout.splitlines())


@pytest.mark.skipif(not hasattr(sys, "getdlopenflags"), reason="needs fork")
@pytest.mark.parametrize(
    "nested",
    [
        "an open array at the top",
        "an array at the top",
        "an array for a string",
        "an object for a string",
        "an array for an object",
        "an array for a timestamp",
        "an array for a boolean",
        "an array for a list",
        "an array for an unknown field",
        "an array in metadata",
        "an object in metadata",
        "a binary group",
        "a binary group of a known field",
    ],
)
def test_deep_nesting_is_refused_and_does_not_end_the_process(outcomes: dict[str, str], nested: str) -> None:
    assert outcomes[nested] == "refused"
