"""Java's own HttpClient with its defaults: it asks for an upgrade to HTTP/2, and sends the body with that request."""

from pathlib import Path

import pytest

from tests.conformance.conftest import output_of, program
from tests.support.wire.http1 import LOG_EVENT
from tests.support.wire.ingress import Ingress

pytestmark = [pytest.mark.emulators, pytest.mark.asyncio(loop_scope="module")]


async def test_logs_events_and_is_told_what_is_wrong(ingress: Ingress) -> None:
    program("javac")  # `java` compiles a source file only where there is a JDK
    # A start of the virtual machine takes a second or two: one for all calls.
    printed = await output_of([program("java"), Path(__file__).parent / "Client.java", ingress.url + LOG_EVENT])

    statuses, bodies = zip(*(line.split(" ", 1) for line in printed.splitlines()), strict=True)
    assert statuses == ("200", "200", "400", "200", "400", "200")
    assert "invalid_argument" in bodies[2]
    assert "invalid_argument" in bodies[4]
