"""Writes the client packages from `proto/`: `make clients`.

    dist/clients/proto/         the service's .proto, and a FileDescriptorSet of it and all that it imports
    dist/clients/python/        an installable package, and its wheel beside it
    dist/clients/typescript/    an npm package compiled to JavaScript and its types, and its tarball beside it

The Python code is `shared/gen/`; the command fails if that is not up to date with `proto/`. TypeScript needs node and
npm; its compiler is installed into `.local/clients/`, once for each content of the lock file.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import distribution
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[2]
TEMPLATES: Final = Path(__file__).resolve().parent
GENERATED: Final = REPOSITORY / "shared" / "gen"
PROTO: Final = REPOSITORY / "proto"
OUTPUT: Final = REPOSITORY / "dist" / "clients"

SERVICE: Final = "events/v1/event_logging.proto"
IMPORTED: Final = ("buf/validate/validate.proto", "google/rpc/error_details.proto")
DESCRIPTORS: Final = "event_logging.binpb"

PYTHON_PACKAGE: Final = "nest_event_logging_client"
NOT_FOR_CALLERS: Final = "forward_pb.py"
"""The messages between ingress and worker."""

INSTALL_SECONDS: Final = 120.0
"""For `npm ci`, which takes a few seconds."""


def main() -> int:
    if OUTPUT.exists():
        shutil.rmtree(OUTPUT)
    _run([sys.executable, PROTO / "generate.py", "--check"])
    descriptors = write_proto(OUTPUT / "proto")
    write_python(OUTPUT / "python")
    _run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", OUTPUT], cwd=OUTPUT / "python")
    npm = shutil.which("npm")
    if npm is None:
        print("The TypeScript client was not written: it needs node and npm.", file=sys.stderr)
        return 1
    write_typescript(OUTPUT / "typescript", descriptors, installed_tools(npm))
    _run([npm, "pack", "--silent", "--pack-destination", OUTPUT], cwd=OUTPUT / "typescript")
    return 0


def write_proto(output: Path) -> Path:
    """Write the .proto files and the descriptor set, which includes all imports; returns the latter's path."""
    (output / SERVICE).parent.mkdir(parents=True)
    shutil.copy(PROTO / SERVICE, output / SERVICE)
    # googleapis-common-protos has google/rpc's source beside its modules; protovalidate has no source of buf/validate.
    details = "google/rpc/error_details.proto"
    (output / details).parent.mkdir(parents=True)
    shutil.copy(str(distribution("googleapis-common-protos").locate_file(details)), output / details)
    descriptors = output / DESCRIPTORS
    _run([sys.executable, PROTO / "generate.py", "--describe", SERVICE, descriptors])
    return descriptors


def write_python(output: Path) -> None:
    """Write the package: the generated code, and event_logging_client.py as the package's root."""
    shutil.copytree(TEMPLATES / "python", output)
    package = output / PYTHON_PACKAGE
    shutil.copytree(GENERATED, package, ignore=shutil.ignore_patterns("__pycache__", NOT_FOR_CALLERS))
    client = (TEMPLATES / "event_logging_client.py").read_text()
    (package / "__init__.py").write_text(client.replace("shared.gen", PYTHON_PACKAGE))
    (package / "py.typed").touch()
    shutil.copy(REPOSITORY / "LICENSE", output)


def write_typescript(output: Path, descriptors: Path, tools: Path) -> None:
    """Generate, compile and write the package. `tools` is the folder that `installed_tools` returned."""
    commands = tools / "node_modules" / ".bin"
    # Below `tools`, since compiler and node look for packages in the folders above.
    with tempfile.TemporaryDirectory(dir=tools) as scratch:
        package = Path(scratch) / "typescript"
        shutil.copytree(TEMPLATES / "typescript", package, ignore=shutil.ignore_patterns("node_modules"))
        generated = package / "src" / "gen"
        generated.mkdir()
        _run(
            [sys.executable, "-m", "grpc_tools.protoc", f"--descriptor_set_in={descriptors}",
             f"--plugin=protoc-gen-es={commands / 'protoc-gen-es'}", f"--es_out={generated}",
             "--es_opt=target=ts,import_extension=js", SERVICE, *IMPORTED]
        )  # fmt: skip
        _run([commands / "tsc"], cwd=package)
        shutil.copy(REPOSITORY / "LICENSE", package)
        shutil.copytree(package, output)


def installed_tools(npm: str) -> Path:
    """The folder whose `node_modules` has the generator, the compiler and the imports of the examples.

    Raises:
        subprocess.SubprocessError: they could not be installed.
    """
    return npm_ci(npm, TEMPLATES / "typescript")


def npm_ci(npm: str, template: Path, *, timeout_seconds: float = INSTALL_SECONDS) -> Path:
    """A folder with the packages of `template`, installed once for each content of its lock file.

    Raises:
        subprocess.SubprocessError: they could not be installed.
    """
    lock = (template / "package-lock.json").read_bytes()
    parent = REPOSITORY / ".local" / "clients"
    folder = parent / hashlib.sha256(lock).hexdigest()[:16]
    if not folder.exists():
        parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=parent))
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(template / name, fresh)
        try:
            subprocess.run([npm, "ci"], cwd=fresh, check=True, capture_output=True, timeout=timeout_seconds)
        except subprocess.SubprocessError:
            shutil.rmtree(fresh)
            raise
        try:
            fresh.rename(folder)
        except OSError:
            if not folder.exists():
                raise
            shutil.rmtree(fresh)  # another process was first
    return folder


def _run(command: Sequence[str | Path], *, cwd: Path | None = None) -> None:
    subprocess.run(command, cwd=cwd, check=True)


if __name__ == "__main__":
    sys.exit(main())
