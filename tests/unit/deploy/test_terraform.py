"""deploy/terraform, as far as it can be checked without Google Cloud: by reading it, and by Terraform itself.

The provider cannot be had everywhere; tests/support/parsers/terraform.py says what stands in for it. The module's own
tests (deploy/terraform/tests) ask what it makes of its variables; tests/unit/deploy/test_terraform_tests.py runs them.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from deploy import schema
from deploy.local import provision
from tests.support.parsers.hcl import read_module, references
from tests.support.parsers.terraform import (
    HAS_TERRAFORM,
    SCHEMAS,
    copied_module,
    run_terraform,
    stand_in_provider,
)
from tests.support.parsers.terraform import MODULE as FOLDER

MODULE = read_module(FOLDER)

META_ARGUMENTS = {"count", "for_each", "depends_on", "lifecycle"}

needs_terraform = pytest.mark.skipif(not HAS_TERRAFORM, reason="NO TERRAFORM on PATH")


@needs_terraform
def test_terraform_itself_has_nothing_to_format() -> None:
    done = run_terraform("fmt", "-check", "-diff", "-recursive", cwd=FOLDER)
    assert (done.returncode, done.stdout) == (0, "")


@needs_terraform
def test_terraform_itself_finds_every_argument_and_type_right(tmp_path: Path) -> None:
    with stand_in_provider() as provider:
        module = copied_module(tmp_path)
        started = run_terraform("init", "-no-color", cwd=module, provider=provider)
        assert started.returncode == 0, started.stderr
        done = run_terraform("validate", "-no-color", cwd=module, provider=provider)
    assert done.returncode == 0, done.stderr


def test_every_reference_leads_somewhere() -> None:
    used = {reference for part in (MODULE.resources, MODULE.locals, MODULE.outputs) for reference in references(part)}
    assert used - MODULE.addresses == set()


def test_nothing_is_declared_in_vain() -> None:
    used = set(references([MODULE.resources, MODULE.locals, MODULE.outputs]))
    declared = {f"var.{name}" for name in MODULE.variables} | {f"local.{name}" for name in MODULE.locals}
    assert declared - used == set()


def test_every_variable_and_output_says_what_it_is() -> None:
    assert [name for name, body in MODULE.variables.items() if not {"description", "type"} <= body.keys()] == []
    assert [name for name, body in MODULE.outputs.items() if "description" not in body] == []


@pytest.mark.parametrize("address", sorted(MODULE.resources))
def test_the_provider_knows_every_argument(address: str) -> None:
    type_ = re.sub(r"\.\w+$", "", address)
    problems: list[str] = []
    _compare(MODULE.resources[address], SCHEMAS[type_], address, problems, META_ARGUMENTS)
    assert problems == []


def _compare(body: dict[str, Any], schema: dict[str, Any], where: str, problems: list[str], also: set[str]) -> None:
    blocks = {name.rstrip("!"): inner for name, (_, inner) in schema.get("blocks", {}).items()}
    names = [*schema["attributes"], *schema.get("blocks", {})]
    known = {name.rstrip("!") for name in names}
    given = dict(body)
    for dynamic in given.pop("dynamic", []):
        for name, block in dynamic.items():
            given[name] = [*given.get(name, []), *block["content"]]
    problems += [f"{where}.{name} is unknown" for name in given if name not in known and name not in also]
    problems += [f"{where}.{name[:-1]} is missing" for name in names if name.endswith("!") and name[:-1] not in given]
    for name, value in given.items():
        if name in blocks:
            for each in value if isinstance(value, list) else [value]:
                _compare(each, blocks[name], f"{where}.{name}", problems, set())


def test_ddl_files_are_numbered_in_one_sequence() -> None:
    files = [*schema.ddl_files(), *schema.ddl_files(schema.DDL_DIRECTORY / "roles")]
    numbers = [int(path.name.partition("_")[0]) for path in files]
    assert sorted(numbers) == list(range(1, len(files) + 1))
    assert all(re.match(r"\d{4}_", path.name) for path in files), "sorted as text, as Terraform sorts"


@needs_terraform
def test_terraform_reads_the_statements_that_the_emulator_gets(tmp_path: Path) -> None:
    spanner = (FOLDER / "spanner.tf").read_text()
    end = spanner.index("\nresource ")
    module = tmp_path / "deploy" / "terraform"
    module.mkdir(parents=True)
    (module / "main.tf").write_text(spanner[:end])
    shutil.copytree(schema.DDL_DIRECTORY, tmp_path / "deploy" / "spanner")
    done = run_terraform("console", cwd=module, stdin="jsonencode(local.ddl)\n")
    assert done.returncode == 0, done.stderr
    read = json.loads(json.loads(done.stdout.strip().splitlines()[-1]))
    files = sorted([*schema.ddl_files(), *schema.ddl_files(schema.DDL_DIRECTORY / "roles")], key=lambda path: path.name)
    expected = [statement for path in files for statement in schema.split(path.read_text())]

    def words(statements: list[str]) -> list[list[str]]:
        return [statement.split() for statement in statements]

    assert words(read) == words(expected)


def test_only_the_eraser_may_delete_and_roles_know_the_tables() -> None:
    grants = schema.statements(schema.DDL_DIRECTORY / "roles")
    assert {grant.split()[2] for grant in grants if grant.startswith("CREATE ROLE")} == {
        "ingress",
        "worker",
        "operator",
        "eraser",
        "export",
    }
    assert {grant.split()[-1] for grant in grants if "DELETE" in grant} == {"eraser"}
    granted = {
        table.strip()
        for grant in grants
        if " ON TABLE " in grant
        for table in re.split(r" ON TABLE | TO ROLE ", grant)[1].split(",")
    }
    made = {words[2] for words in map(str.split, schema.statements()) if words[:2] == ["CREATE", "TABLE"]}
    assert granted == made, "a table without a grant is one that nobody may use"


def test_subscriptions_are_those_of_the_local_stack() -> None:
    forward = MODULE.resources["google_pubsub_subscription.forward"]
    held = MODULE.resources["google_pubsub_subscription.dead_letter"]

    def seconds(value: str) -> int:
        return int(value.removesuffix("s"))

    assert forward["ack_deadline_seconds"] == provision.FORWARD_ACK_DEADLINE_SECONDS
    (retry,) = forward["retry_policy"]
    assert seconds(retry["minimum_backoff"]) == provision.RETRY_BACKOFF_MIN.total_seconds()
    assert seconds(retry["maximum_backoff"]) == provision.RETRY_BACKOFF_MAX.total_seconds()
    (policy,) = forward["dead_letter_policy"]
    assert policy["max_delivery_attempts"] == provision.MAX_DELIVERY_ATTEMPTS
    assert policy["dead_letter_topic"] == "${google_pubsub_topic.dead_letter.id}"
    assert held["ack_deadline_seconds"] == provision.DEAD_LETTER_ACK_DEADLINE_SECONDS
    assert seconds(held["message_retention_duration"]) == provision.DEAD_LETTER_RETENTION.total_seconds()
    assert forward["expiration_policy"] == held["expiration_policy"] == [{"ttl": ""}]
