"""One ingress for each module, and what it takes to start clients of other languages against it."""

import asyncio
import hashlib
import shutil
import subprocess
import tempfile
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio
from protobuf import DescFile
from protobuf.wkt.google.protobuf import descriptor_pb

from deploy.local.emulators import Emulators
from deploy.local.provision import StackNames, provisioner
from deploy.local.stack import REPOSITORY
from shared.gen.events.v1.event_logging_pb import LogEventRequest
from shared.gen.google.rpc.error_details_pb import BadRequest
from tests.support.wire.ingress import Ingress, Store, open_store, running_ingress

NODE = Path(__file__).parent / "node"
INSTALL_SECONDS = 50.0
CLIENT_SECONDS = 30.0
READ_TIMEOUT_SECONDS = 1.0
"""Of the ingress."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_environment(emulators: Emulators) -> AsyncIterator[dict[str, str]]:
    names = StackNames.unique("c")
    async with provisioner(emulators) as admin:
        await admin.provision(names)
        yield names.variables | emulators.variables
        await admin.delete_topics(names)
        await admin.delete_instance(names)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ingress(module_environment: dict[str, str]) -> AsyncIterator[Ingress]:
    async with running_ingress(module_environment, REQUEST_READ_TIMEOUT_SECONDS=str(READ_TIMEOUT_SECONDS)) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def store(module_environment: dict[str, str]) -> AsyncIterator[Store]:
    async with open_store(module_environment) as opened:
        yield opened


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
    """The folder of `node/` with its packages, installed once for each content of the lock file."""
    program("node")
    npm = program("npm")
    lock = (NODE / "package-lock.json").read_bytes()
    parent = REPOSITORY / ".local" / "conformance"
    folder = parent / hashlib.sha256(lock).hexdigest()[:16]
    if not folder.exists():
        parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=parent))
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(NODE / name, fresh)
        try:
            subprocess.run([npm, "ci"], cwd=fresh, check=True, capture_output=True, timeout=INSTALL_SECONDS)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            shutil.rmtree(fresh)
            pytest.skip(f"the packages for node could not be installed: {error}")
        try:
            fresh.rename(folder)
        except OSError:  # another process of this run was first
            shutil.rmtree(fresh)
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
