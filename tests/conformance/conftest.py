"""An ingress for each module, and helpers that run clients written in other languages."""

import asyncio
import shutil
import subprocess
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio
from protobuf import DescFile
from protobuf.wkt.google.protobuf import descriptor_pb

from deploy.clients.generate import npm_ci
from shared.gen.events.v1.event_logging_pb import LogEventRequest
from shared.gen.google.rpc.error_details_pb import BadRequest
from tests.support.fixtures import module_environment, store
from tests.support.wire.ingress import Ingress, running_ingress

__all__ = ["descriptors", "ingress", "module_environment", "node_folder", "store"]

NODE = Path(__file__).parent / "node"
INSTALL_SECONDS = 50.0
"""Shorter than a test's timeout of 60 s, so that a slow installation skips the tests."""

CLIENT_SECONDS = 30.0
READ_TIMEOUT_SECONDS = 1.0
"""The ingress's REQUEST_READ_TIMEOUT_SECONDS."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ingress(module_environment: dict[str, str]) -> AsyncIterator[Ingress]:
    async with running_ingress(module_environment, REQUEST_READ_TIMEOUT_SECONDS=str(READ_TIMEOUT_SECONDS)) as running:
        yield running


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"there is no {name}")
    return found


async def output_of(command: Sequence[str | Path], *, cwd: Path | None = None, data: bytes = b"") -> str:
    """What a client printed. The ingress runs in this event loop, so nothing here may block it."""
    process = await asyncio.create_subprocess_exec(*command, cwd=cwd, stdin=PIPE, stdout=PIPE, stderr=PIPE)
    try:
        async with asyncio.timeout(CLIENT_SECONDS):
            printed, errors = await process.communicate(data)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, errors.decode()
    return printed.decode()


@pytest.fixture(scope="session")
def node_folder() -> Path:
    """A folder with the packages of `node/` installed, and its program."""
    program("node")
    try:
        folder = npm_ci(program("npm"), NODE, timeout_seconds=INSTALL_SECONDS)
    except subprocess.SubprocessError as error:
        pytest.skip(f"the packages for node could not be installed: {error}")
    shutil.copy(NODE / "client.mjs", folder)
    return folder


@pytest.fixture(scope="module")
def descriptors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The service and its error details, for clients that read a FileDescriptorSet."""
    files: dict[str, descriptor_pb.FileDescriptorProto] = {}

    def add(file: DescFile) -> None:
        for dependency in file.dependencies:
            add(dependency)
        files.setdefault(file.name, file.proto)

    add(LogEventRequest.desc().file)
    add(BadRequest.desc().file)
    path = tmp_path_factory.mktemp("descriptors") / "events.binpb"
    path.write_bytes(descriptor_pb.FileDescriptorSet(file=list(files.values())).to_binary())
    return path
