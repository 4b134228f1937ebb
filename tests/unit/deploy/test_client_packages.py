"""What `make clients` writes without node: tests/conformance/test_client_packages.py has the rest."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from protobuf.wkt.google.protobuf.descriptor_pb import FileDescriptorSet

from deploy.clients import generate

NOT_GENERATED = {Path("__init__.py"), Path("py.typed")}


def project(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    return found


def contents(folder: Path) -> dict[Path, bytes]:
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture
def python(tmp_path: Path) -> Path:
    generate.write_python(tmp_path / "python")
    return tmp_path / "python"


def test_the_python_package_has_the_generated_code_without_what_is_between_our_processes(python: Path) -> None:
    ours = contents(generate.GENERATED)
    del ours[Path("events/v1/forward_pb.py")]
    written = contents(python / generate.PYTHON_PACKAGE)

    assert written.keys() == ours.keys() | NOT_GENERATED
    assert [path for path in ours.keys() - NOT_GENERATED if written[path] != ours[path]] == []
    assert {path.name for path in python.iterdir()} == {
        "LICENSE", "README.md", "pyproject.toml", generate.PYTHON_PACKAGE
    }  # fmt: skip


def test_the_python_package_needs_nothing_of_this_repository(python: Path) -> None:
    code = f"import sys; sys.path[0] = {str(python)!r}; import {generate.PYTHON_PACKAGE} as it; print(it.EventLog)"
    code += "; assert not {'shared', 'ingress', 'worker', 'deploy'} & sys.modules.keys()"
    printed = subprocess.run([sys.executable, "-c", code], cwd=python, check=True, capture_output=True, text=True)

    assert printed.stdout.strip() == f"<class '{generate.PYTHON_PACKAGE}.EventLog'>"


def test_the_python_package_asks_for_the_versions_that_its_code_was_generated_for(python: Path) -> None:
    ours, theirs = project(generate.REPOSITORY), project(python)
    shared = {rule for rule in ours["dependencies"] if rule.startswith(("connectrpc>", "protobuf-py>"))}

    assert len(shared) == 2
    assert shared <= set(theirs["dependencies"])
    assert theirs["requires-python"] == ours["requires-python"]


def test_the_packages_have_the_projects_version() -> None:
    manifest = json.loads((generate.TEMPLATES / "typescript" / "package.json").read_text())
    version = project(generate.REPOSITORY)["version"]

    assert (manifest["version"], project(generate.TEMPLATES / "python")["version"]) == (version, version)
    for readme in ("README.md", "python/README.md", "typescript/README.md"):
        assert f"-{version}" in (generate.TEMPLATES / readme).read_text()


def test_every_npm_package_is_pinned_and_none_has_an_address() -> None:
    folder = generate.TEMPLATES / "typescript"
    lock = json.loads((folder / "package-lock.json").read_text())
    root = lock["packages"].pop("")

    assert root["devDependencies"] == json.loads((folder / "package.json").read_text())["devDependencies"]
    assert all(version[0].isdigit() for version in root["devDependencies"].values())
    assert lock["packages"]
    for package in lock["packages"].values():
        assert package["integrity"]
        assert "resolved" not in package


def test_the_descriptors_are_complete_and_keep_the_services_comments(tmp_path: Path) -> None:
    described = FileDescriptorSet.from_binary(generate.write_proto(tmp_path).read_bytes())
    by_name = {file.name: file for file in described.file}

    assert {generate.SERVICE, *generate.IMPORTED} <= by_name.keys()
    assert {dependency for file in described.file for dependency in file.dependency} <= by_name.keys()
    service = by_name[generate.SERVICE]
    assert service.source_code_info is not None
    assert any("Logs events durably" in place.leading_comments for place in service.source_code_info.location)
    assert "LogEventRequest" in {message.name for message in service.message_type}
    assert (tmp_path / "google" / "rpc" / "error_details.proto").read_text().startswith("// Copyright")
