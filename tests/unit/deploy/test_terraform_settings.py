"""What deploy/terraform gives each process: its settings, secrets, memory, probes and ways in."""

import re
from typing import Any

import pytest

from ingress.http import discarding
from ingress.http.guard import HEALTH_PATH, READY_PATH
from shared.process.settings import IngressSettings, OperatorSettings, Settings, WorkerSettings
from tests.support.parsers.hcl import read_module, references, strings
from tests.support.parsers.terraform import MODULE as FOLDER

MODULE = read_module(FOLDER)

PROCESSES: dict[str, type[Settings]] = {
    "google_cloud_run_v2_service.ingress": IngressSettings,
    "google_cloud_run_v2_worker_pool.worker": WorkerSettings,
    "google_cloud_run_v2_job.account": OperatorSettings,
}


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


def test_all_bodies_that_cloud_run_sends_at_once_can_be_discarded_behind_their_answers_in_time() -> None:
    template = MODULE.resources["google_cloud_run_v2_service.ingress"]["template"][0]
    defaults = {name: field.default for name, field in IngressSettings.model_fields.items()}
    bytes_a_second = discarding.STEP_BYTES / discarding.STEP_SECONDS
    largest_bodies = discarding.MAX_DISCARDED * defaults["max_request_bytes"]

    assert template["max_instance_request_concurrency"] <= discarding.MAX_DISCARDED
    assert largest_bodies / bytes_a_second < defaults["request_read_timeout_seconds"]


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
