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
from ingress.http.guard import HEALTH_PATH, READY_PATH
from shared.process.settings import IngressSettings, OperatorSettings, Settings, WorkerSettings
from tests.support.parsers.hcl import read_module, references, strings
from tests.support.parsers.terraform import (
    HAS_TERRAFORM,
    SCHEMAS,
    copied_module,
    run_terraform,
    stand_in_provider,
)
from tests.support.parsers.terraform import MODULE as FOLDER

MODULE = read_module(FOLDER)
PROCESSES: dict[str, type[Settings]] = {
    "google_cloud_run_v2_service.ingress": IngressSettings,
    "google_cloud_run_v2_worker_pool.worker": WorkerSettings,
    "google_cloud_run_v2_job.account": OperatorSettings,
}
META_ARGUMENTS = {"count", "for_each", "depends_on", "lifecycle"}

needs_terraform = pytest.mark.skipif(not HAS_TERRAFORM, reason="NO TERRAFORM on PATH")


# --- language --------------------------------------------------------------------------------------------------------


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


# --- settings --------------------------------------------------------------------------------------------------------


def environment_of(address: str) -> set[str]:
    """The variables that a process gets, apart from those of a Terraform variable and of database roles."""
    container = next(_blocks(MODULE.resources[address], "containers"))
    names = {block["name"] for block in container.get("env", [])}
    (dynamic,) = [block["env"] for block in container["dynamic"] if "env" in block]
    for reference in references(dynamic["for_each"]):
        local = MODULE.locals.get(reference.removeprefix("local."))
        if isinstance(local, dict):
            names |= local.keys()
    return names


def _blocks(body: Any, name: str) -> Any:
    if isinstance(body, dict):
        for key, value in body.items():
            if key == name:
                yield from value
            else:
                yield from _blocks(value, name)
    elif isinstance(body, list):
        for each in body:
            yield from _blocks(each, name)


@pytest.mark.parametrize(("address", "cls"), sorted(PROCESSES.items()))
def test_a_process_gets_every_setting_that_has_no_default_and_no_other(address: str, cls: type[Settings]) -> None:
    required = {field.alias for field in cls.model_fields.values() if field.is_required()}
    known = {field.alias for field in cls.model_fields.values()}
    given = environment_of(address)

    assert required - given == set()
    assert given - known == set()


def test_processes_are_told_where_telemetry_goes_unless_it_is_off() -> None:
    given = str(MODULE.locals["telemetry_environment"])
    names = set(re.findall(r"OTEL_\w+", given))

    assert names == {field.alias for field in Settings.model_fields.values() if str(field.alias).startswith("OTEL_")}
    assert "if var.telemetry_endpoint != null" in given
    for address in PROCESSES:
        container = next(_blocks(MODULE.resources[address], "containers"))
        assert "local.telemetry_environment" in set(references(container["dynamic"])), address
    assert {name: MODULE.variables[name]["default"] for name in ("telemetry_endpoint", "trace_ratio")} == {
        "telemetry_endpoint": "https://telemetry.googleapis.com",
        "trace_ratio": 0.05,
    }


def test_operators_are_told_every_setting() -> None:
    required = {field.alias for field in OperatorSettings.model_fields.values() if field.is_required()}
    given = {
        name
        for reference in references(MODULE.outputs["operator_environment"])
        if isinstance(local := MODULE.locals.get(reference.removeprefix("local.")), dict)
        for name in local
    }
    assert required <= given


def test_only_the_worker_sees_the_statsig_key_and_only_as_a_secret() -> None:
    holders = [address for address, body in MODULE.resources.items() if "STATSIG_SERVER_SECRET" in strings(body)]
    readers = MODULE.of_type("google_secret_manager_secret_iam_member")

    assert holders == ["google_cloud_run_v2_worker_pool.worker"]
    assert {(grant["role"], grant["member"]) for grant in readers.values()} == {
        ("roles/secretmanager.secretAccessor", "${google_service_account.worker.member}")
    }
    assert not MODULE.of_type("google_secret_manager_secret_version"), "a key in Terraform is a key in its state"


def test_memory_holds_what_may_be_in_flight() -> None:
    template = MODULE.resources["google_cloud_run_v2_service.ingress"]["template"][0]
    concurrency = template["max_instance_request_concurrency"]
    memory = int(template["containers"][0]["resources"][0]["limits"]["memory"].removesuffix("Gi")) * 2**30
    defaults = {name: field.default for name, field in IngressSettings.model_fields.items()}

    assert concurrency * defaults["max_request_bytes"] * 4 + defaults["commit_queue_bytes"] + 256 * 2**20 < memory


def test_probes_and_timeout_leave_the_process_its_own_time() -> None:
    template = MODULE.resources["google_cloud_run_v2_service.ingress"]["template"][0]
    container = template["containers"][0]
    startup, liveness = container["startup_probe"][0], container["liveness_probe"][0]

    assert (startup["http_get"][0]["path"], liveness["http_get"][0]["path"]) == ("/ready", "/health")
    assert startup["period_seconds"] * startup["failure_threshold"] > 30
    assert startup["timeout_seconds"] > 2, "/ready takes up to 2 s"
    assert liveness["timeout_seconds"] <= liveness["period_seconds"], "Cloud Run refuses another"
    assert liveness["period_seconds"] * liveness["failure_threshold"] >= 60, "one that is busy is not restarted"
    assert int(template["timeout"].removesuffix("s")) > 10 + 5 + 1
    assert container["resources"][0]["cpu_idle"] is False


def test_no_path_that_is_probed_is_one_that_cloud_run_keeps_for_itself() -> None:
    paths = {
        probe["http_get"][0]["path"]
        for body in MODULE.of_type("google_cloud_run_v2_service").values()
        for kind in ("startup_probe", "liveness_probe")
        for probe in next(_blocks(body, "containers"))[kind]
    }
    assert paths == {HEALTH_PATH, READY_PATH}
    assert [path for path in paths if path.endswith("z")] == []


def test_the_ingress_trusts_cloud_run_iam_by_a_setting_where_nothing_else_lets_a_caller_in() -> None:
    ingress = MODULE.resources["google_cloud_run_v2_service.ingress"]
    assert MODULE.locals["ingress_environment"] == {"TRUST_CLOUD_RUN_IAM": "true"}
    assert ingress["ingress"] == "INGRESS_TRAFFIC_INTERNAL_ONLY"
    assert "invoker_iam_disabled" not in ingress


def test_least_privilege_is_the_default_and_narrower_options_are_off() -> None:
    defaults = {
        name: MODULE.variables[name]["default"] for name in ("use_database_roles", "vpc_access", "binary_authorization")
    }
    assert defaults == {"use_database_roles": True, "vpc_access": None, "binary_authorization": None}


# --- schema ----------------------------------------------------------------------------------------------------------


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


def test_roles_grant_no_delete_and_know_the_tables() -> None:
    grants = schema.statements(schema.DDL_DIRECTORY / "roles")
    assert {grant.split()[2] for grant in grants if grant.startswith("CREATE ROLE")} == {
        "ingress",
        "worker",
        "operator",
        "export",
    }
    assert not any("DELETE" in grant for grant in grants)
    granted = {
        table.strip()
        for grant in grants
        if " ON TABLE " in grant
        for table in re.split(r" ON TABLE | TO ROLE ", grant)[1].split(",")
    }
    made = {words[2] for words in map(str.split, schema.statements()) if words[:2] == ["CREATE", "TABLE"]}
    assert granted == made, "a table without a grant is one that nobody may use"


# --- topics ----------------------------------------------------------------------------------------------------------


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
