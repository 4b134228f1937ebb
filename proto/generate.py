"""Generates `shared/gen/` from the `.proto` files beside this script.

    python proto/generate.py            write it
    python proto/generate.py --check    exit 1 if the committed files differ
    python proto/generate.py --describe SOURCE FILE
                                        write a FileDescriptorSet of one source and its imports, with comments

Needs no schema registry and no network: the descriptors of the imported `buf/validate` and `google/rpc` come from the
installed protovalidate and googleapis-common-protos packages, the compiler and its plugins from PyPI packages. The
generated modules import those of the imports relatively, so these are generated too.

This folder must never become an importable package: google-cloud's proto-plus is itself the module `proto`.
"""

import filecmp
import os
import subprocess
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

import google.rpc
import grpc_tools
from protobuf import DescFile
from protobuf.wkt.google.protobuf import descriptor_pb
from protovalidate import ViolationPb

PROTO_ROOT = Path(__file__).resolve().parent
OUTPUT = PROTO_ROOT.parent / "shared" / "gen"
IMPORTED = ("buf/validate/validate.proto", "google/rpc/error_details.proto")
WELL_KNOWN = ("google/protobuf/struct.proto", "google/protobuf/timestamp.proto")
PACKAGE_DOCSTRING = '"""Generated from `proto/` by `make proto`; never edited."""\n'


def main() -> int:
    match sys.argv[1:]:
        case [] | ["--check"]:
            return write_or_check(check=len(sys.argv) > 1)
        case ["--describe", source, target]:
            describe(source, Path(target))
            return 0
        case _:
            print(f"usage: {sys.argv[0]} [--check | --describe SOURCE FILE]", file=sys.stderr)
            return 2


def write_or_check(*, check: bool) -> int:
    with tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch) / "gen"
        generate(fresh)
        if check:
            return report_differences(fresh)
        for path in sorted(_python_files(OUTPUT)):
            (OUTPUT / path).unlink()
        for path in sorted(_python_files(fresh)):
            target = OUTPUT / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((fresh / path).read_bytes())
    return 0


def generate(output: Path) -> None:
    output.mkdir(parents=True)
    descriptors = output.parent / "imports.binpb"
    descriptors.write_bytes(_imported_descriptors(output.parent).to_binary())
    sources = sorted(str(path.relative_to(PROTO_ROOT)) for path in PROTO_ROOT.rglob("*.proto"))
    # protoc finds its plugins, which are console scripts beside the interpreter, through PATH.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", f"--descriptor_set_in={descriptors}", f"-I{PROTO_ROOT}",
         f"--py_out={output}", f"--connectrpc_out={output}", *sources, *IMPORTED],
        check=True,
        env={**os.environ, "PATH": path},
    )  # fmt: skip
    for package in [output, *(entry for entry in output.rglob("*") if entry.is_dir())]:
        (package / "__init__.py").write_text(PACKAGE_DOCSTRING)


def describe(source: str, target: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        descriptors = Path(scratch) / "imports.binpb"
        descriptors.write_bytes(_imported_descriptors(Path(scratch)).to_binary())
        subprocess.run(
            [sys.executable, "-m", "grpc_tools.protoc", f"--descriptor_set_in={descriptors}", f"-I{PROTO_ROOT}",
             "--include_imports", "--include_source_info", f"--descriptor_set_out={target}", source],
            check=True,
        )  # fmt: skip


def _imported_descriptors(scratch: Path) -> descriptor_pb.FileDescriptorSet:
    """The descriptors of all files that the sources import, dependencies first, each file once."""
    by_name: dict[str, descriptor_pb.FileDescriptorProto] = {}

    def add(file: DescFile) -> None:
        for dependency in file.dependencies:
            add(dependency)
        by_name.setdefault(file.name, file.proto)

    add(ViolationPb.desc().file)
    compiled = scratch / "imports-from-source.binpb"
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", f"-I{files(grpc_tools) / '_proto'}",
         f"-I{Path(next(iter(google.rpc.__path__))).parents[1]}", "--include_imports",
         f"--descriptor_set_out={compiled}", "google/rpc/error_details.proto", *WELL_KNOWN],
        check=True,
    )  # fmt: skip
    for descriptor in descriptor_pb.FileDescriptorSet.from_binary(compiled.read_bytes()).file:
        by_name.setdefault(descriptor.name, descriptor)
    return descriptor_pb.FileDescriptorSet(file=list(by_name.values()))


def report_differences(fresh: Path) -> int:
    expected, committed = _python_files(fresh), _python_files(OUTPUT)
    changed = {path for path in expected & committed if not filecmp.cmp(fresh / path, OUTPUT / path, shallow=False)}
    stale = sorted(changed | (expected ^ committed))
    for path in stale:
        print(f"shared/gen/{path} differs from what proto/ generates: run `make proto`", file=sys.stderr)
    return 1 if stale else 0


def _python_files(root: Path) -> set[Path]:
    return {path.relative_to(root) for path in root.rglob("*.py")}


if __name__ == "__main__":
    sys.exit(main())
