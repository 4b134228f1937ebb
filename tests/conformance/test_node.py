"""connect-node and connect-web against the ingress."""

import json
from pathlib import Path

import pytest

from tests.conformance.conftest import output_of, program
from tests.support.wire.ingress import Ingress, Store

pytestmark = [pytest.mark.emulators, pytest.mark.asyncio(loop_scope="module")]


@pytest.mark.parametrize(
    "transport",
    [
        "node json",
        "node binary",
        "node gzip",
        "node json over HTTP/2",
        "node gzip over HTTP/2",
        "node gRPC",
        "node gRPC gzip",
        "node gRPC-Web",
        "node gRPC-Web over HTTP/2",
        "web json",
        "web binary",
        "web gRPC-Web",
    ],
)
async def test_logs_events_and_understands_errors(
    ingress: Ingress, store: Store, node_folder: Path, descriptors: Path, transport: str
) -> None:
    printed = await output_of([program("node"), "client.mjs", ingress.url, descriptors, transport], cwd=node_folder)

    said = json.loads(printed)
    assert said["outcomes"] == ["logged", "error"]
    assert said["refusal"] == {"code": "InvalidArgument", "fields": ["event_name"]}
    row = await store.row(said["eventId"])
    metadata = json.loads(row["metadata"]) if isinstance(row["metadata"], str) else dict(row["metadata"])
    assert metadata["kind"] == transport
    assert metadata["depth"] == {"list": [1, "zwei", None]}
