"""curl against the ingress, with commands as a person types them."""

import gzip
import json

import pytest

from tests.conformance.conftest import output_of, program
from tests.support.wire.http1 import LOG_EVENT
from tests.support.wire.ingress import Ingress

pytestmark = [pytest.mark.emulators, pytest.mark.asyncio(loop_scope="module")]

GOOD = b'{"event_name":"curl","forward_to_statsig":false}'
JSON = ("-H", "content-type: application/json", "--data-binary", "@-")


@pytest.mark.parametrize(
    ("options", "version"),
    [
        (["--http1.1"], "1.1"),
        (["--http1.1", "-H", "transfer-encoding: chunked"], "1.1"),
        (["--http1.1", "-H", "expect: 100-continue"], "1.1"),
        (["--http2"], "1.1"),  # asks for an upgrade, which a request with a body is not given
        (["--http2-prior-knowledge"], "2"),
    ],
    ids=["1.1", "1.1 in chunks", "1.1 with 100-continue", "an upgrade", "2"],
)
@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gzip"])
async def test_logs_an_event(ingress: Ingress, options: list[str], version: str, compressed: bool) -> None:
    encoding = ["-H", "content-encoding: gzip"] if compressed else []
    printed = await output_of(
        [
            program("curl"),
            "-sS",
            "--fail",
            *options,
            *encoding,
            *JSON,
            "-w",
            "\n%{http_version}",
            ingress.url + LOG_EVENT,
        ],
        data=gzip.compress(GOOD) if compressed else GOOD,
    )

    answer, _, spoken = printed.rpartition("\n")
    assert "eventId" in json.loads(answer)
    assert spoken == version


@pytest.mark.parametrize("option", ["--http1.1", "--http2", "--http2-prior-knowledge"])
async def test_asks_for_health(ingress: Ingress, option: str) -> None:
    printed = await output_of([program("curl"), "-sS", "--fail", option, f"{ingress.url}/health"])

    assert json.loads(printed) == {"status": "ok"}


@pytest.mark.parametrize("option", ["--http1.1", "--http2-prior-knowledge"])
async def test_is_told_what_is_wrong(ingress: Ingress, option: str) -> None:
    printed = await output_of(
        [program("curl"), "-sS", option, *JSON, "-w", "\n%{http_code}", ingress.url + LOG_EVENT],
        data=b'{"event_name":""}',
    )

    answer, _, status = printed.rpartition("\n")
    assert status == "400"
    assert json.loads(answer)["code"] == "invalid_argument"


@pytest.mark.parametrize(
    "options",
    [
        ["--http1.1"],
        ["--http1.1", "-H", "transfer-encoding: chunked"],
        ["--http1.1", "-H", "expect:"],
        ["--http2-prior-knowledge"],
    ],
    ids=["1.1", "1.1 in chunks", "1.1 without a question before", "2"],
)
async def test_is_told_that_a_body_is_too_large(ingress: Ingress, options: list[str]) -> None:
    printed = await output_of(
        [program("curl"), "-sS", *options, *JSON, "-w", "\n%{http_code}", ingress.url + LOG_EVENT],
        data=b" " * 5_000_000,
    )

    answer, _, status = printed.rpartition("\n")
    assert status == "400"
    assert json.loads(answer)["code"] == "invalid_argument"
