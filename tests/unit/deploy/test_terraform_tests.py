"""The module's own tests (deploy/terraform/tests): their form, and that Terraform passes them."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.parsers.hcl import read_blocks, read_module, references, strings
from tests.support.parsers.terraform import (
    HAS_TERRAFORM,
    MODULE,
    SCHEMAS,
    copied_module,
    run_terraform,
    stand_in_provider,
)

FOLDER = MODULE / "tests"
FILES = sorted(FOLDER.glob("*.tftest.hcl"))
MOCKS = FOLDER / "mocks" / "google.tfmock.hcl"

TESTS = {path.name: read_blocks(path) for path in FILES}


def runs() -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{file}: {name}", body)
        for file, content in TESTS.items()
        for block in content["run"]
        for name, body in block.items()
    ]


@pytest.mark.skipif(not HAS_TERRAFORM, reason="NO TERRAFORM on PATH")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_terraform_finds_that_all_of_it_holds(path: Path, tmp_path: Path) -> None:
    with stand_in_provider() as provider:
        module = copied_module(tmp_path)
        started = run_terraform("init", "-no-color", cwd=module, provider=provider)
        assert started.returncode == 0, started.stderr
        done = run_terraform("test", "-no-color", f"-filter=tests/{path.name}", cwd=module, provider=provider)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(TESTS[path.name]['run'])} passed, 0 failed" in done.stdout


@pytest.mark.parametrize("file", sorted(TESTS))
def test_the_provider_is_mocked_in_every_file(file: str) -> None:
    mocked = TESTS[file]["mock_provider"]
    assert mocked == [{"google": {"source": "./tests/mocks"}}]
    assert TESTS[file]["variables"], "the variables without a default"


@pytest.mark.parametrize(("name", "body"), runs(), ids=[name for name, _ in runs()])
def test_every_run_asks_for_something_and_says_why(name: str, body: dict[str, Any]) -> None:
    assert body.get("assert") or body.get("expect_failures"), name
    assert all(each["condition"] and each["error_message"].endswith(".") for each in body.get("assert", [])), name


def test_names_of_runs_are_what_the_module_does() -> None:
    names = [name.partition(": ")[2] for name, _ in runs()]
    assert len(names) == len(set(names))
    assert [name for name in names if not re.fullmatch(r"[a-z0-9_]{15,}", name)] == []


def test_every_variable_is_given_another_value_somewhere() -> None:
    module = read_module(MODULE)
    given = {
        name
        for content in TESTS.values()
        for variables in [*content["variables"], *(each for _, run in runs() for each in run.get("variables", []))]
        for name in variables
    }
    assert given == module.variables.keys()


def test_every_validation_is_shown_to_refuse_something() -> None:
    module = read_module(MODULE)
    validated = {f"var.{name}" for name, body in module.variables.items() if "validation" in body}
    refused = {reference for _, body in runs() for reference in references(body.get("expect_failures", []))}
    assert refused == validated


def test_what_is_mocked_is_what_the_provider_computes() -> None:
    content = read_blocks(MOCKS)
    for kind, prefix in (("mock_resource", ""), ("mock_data", "data.")):
        for block in content[kind]:
            for type_, body in block.items():
                computed = {"id", *SCHEMAS[prefix + type_].get("computed", {})}
                assert set(body["defaults"]) - computed == set(), type_


def test_nothing_of_this_machine_or_of_a_real_project_is_in_them() -> None:
    text = " ".join(strings([TESTS, read_blocks(MOCKS)]))
    assert not re.search(r"/(?:home|root|work|tmp)/", text)
    assert set(re.findall(r"projects/([a-z-]+)/", text)) == {"my-project"}
