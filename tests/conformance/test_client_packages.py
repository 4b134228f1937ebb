"""The TypeScript package of `make clients`: generated, compiled, and used as its README says."""

import asyncio
import json
import subprocess
from pathlib import Path

import pytest
import pytest_asyncio

from deploy.clients import generate
from tests.conformance.conftest import output_of, program
from tests.support.wire.ingress import Ingress, Store

pytestmark = [
    pytest.mark.emulators,
    pytest.mark.asyncio(loop_scope="module"),
    # The first run installs the compiler; generating and compiling take about six seconds each time.
    pytest.mark.timeout(generate.INSTALL_SECONDS + 60),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program("node")
    npm = program("npm")
    try:
        tools = await asyncio.to_thread(generate.installed_tools, npm)
    except subprocess.SubprocessError as error:
        pytest.skip(f"the packages for node could not be installed: {error}")
    folder = tmp_path_factory.mktemp("clients")
    # Where node looks for what the example imports beside the package.
    (folder / "node_modules").symlink_to(tools / "node_modules")
    descriptors = generate.write_proto(folder / "proto")
    await asyncio.to_thread(generate.write_typescript, folder / "typescript", descriptors, tools)
    return folder / "typescript"


# One test: two workers of a run would install and compile twice.
async def test_it_has_what_it_exports_and_its_example_logs_events(
    ingress: Ingress, store: Store, package: Path
) -> None:
    assert missing_exports(package) == set()
    for transport in ("node", "web"):
        printed = await output_of([program("node"), "dist/examples/log_one.js", ingress.url, transport], cwd=package)

        row = await store.row(printed.strip())
        assert row["event_name"] == "order_paid"
        metadata = json.loads(row["metadata"]) if isinstance(row["metadata"], str) else dict(row["metadata"])
        assert (metadata["value"], metadata["currency"]) == (12.5, "EUR")


def missing_exports(package: Path) -> set[Path]:
    generated = [source.removesuffix(".proto") + "_pb" for source in (generate.SERVICE, *generate.IMPORTED)]
    exports = json.loads((package / "package.json").read_text())["exports"].values()
    wanted = {Path(target.replace("*", page)) for export in exports for target in export.values() for page in generated}
    assert len(wanted) == 8
    return {path for path in wanted if not (package / path).is_file()}
