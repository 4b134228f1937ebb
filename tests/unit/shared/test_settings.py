"""Settings: every problem in one error, no value in it, and no emulators on Cloud Run."""

from typing import Any

import pytest

from shared.errors import SettingsError
from shared.process.settings import IngressSettings, Settings, WorkerSettings, from_environment

INGRESS = {
    "GOOGLE_CLOUD_PROJECT": "project",
    "SPANNER_INSTANCE": "instance",
    "SPANNER_DATABASE": "database",
    "FORWARD_TOPIC": "forward",
}
WORKER = INGRESS | {
    "FORWARD_SUBSCRIPTION": "forward-worker",
    "DEAD_LETTER_TOPIC": "dead-letter",
    "DEAD_LETTER_SUBSCRIPTION": "dead-letter-hold",
    "STATSIG_SERVER_SECRET": "secret-canary",
    "STATSIG_ENVIRONMENT": "test",
}
EMULATORS = {"SPANNER_EMULATOR_HOST": "localhost:9010", "PUBSUB_EMULATOR_HOST": "localhost:8085"}


def problems(cls: type[Settings], environment: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as caught:
        from_environment(cls, environment)
    return str(caught.value)


def test_what_must_be_set_is_enough() -> None:
    settings = from_environment(IngressSettings, INGRESS)

    assert settings.google_cloud_project == "project"
    assert settings.port == 8080
    assert settings.forward_by_default is True
    assert settings.max_metadata_bytes == 65_536
    assert settings.on_cloud_run is False


@pytest.mark.parametrize(
    ("cls", "required"),
    [(IngressSettings, set(INGRESS)), (WorkerSettings, set(WORKER))],
)
def test_names_every_variable_that_is_missing(cls: type[Settings], required: set[str]) -> None:
    text = problems(cls, {})

    assert {line.strip() for line in text.splitlines()[1:]} == {f"{name} must be set" for name in required}


@pytest.mark.parametrize("blank", ["", " ", "\t"])
def test_a_blank_variable_counts_as_missing(blank: str) -> None:
    assert "SPANNER_INSTANCE" in problems(IngressSettings, INGRESS | {"SPANNER_INSTANCE": blank})


WRONG = {
    "PORT": "canary",
    "LOG_FORMAT": "canary",
    "LOG_LEVEL": "canary",
    "FORWARD_BY_DEFAULT": "canary",
    "MAX_METADATA_BYTES": "65537",
    "COMMIT_TIMEOUT_SECONDS": "0",
    "PUBLISH_TIMEOUT_SECONDS": "-1",
    "COMMIT_ROWS": "1001",
    "REQUEST_READ_TIMEOUT_SECONDS": "nan",
    "MAX_REQUEST_BYTES": "1e9",
}


def test_names_every_variable_that_is_wrong_together_with_the_missing() -> None:
    environment = INGRESS | WRONG
    del environment["FORWARD_TOPIC"]

    lines = problems(IngressSettings, environment).splitlines()[1:]

    assert {line.strip().split()[0].rstrip(":") for line in lines} == {*WRONG, "FORWARD_TOPIC"}


def test_never_repeats_a_value() -> None:
    text = problems(IngressSettings, INGRESS | WRONG)

    assert "canary" not in text
    assert "65537" not in text


def test_never_shows_the_secret() -> None:
    settings = from_environment(WorkerSettings, WORKER)

    assert "secret-canary" not in repr(settings)
    assert "secret-canary" not in str(settings)
    assert "secret-canary" not in problems(WorkerSettings, WORKER | {"LANES": "0"})


@pytest.mark.parametrize("variable", ["K_SERVICE", "CLOUD_RUN_WORKER_POOL", "CLOUD_RUN_JOB"])
@pytest.mark.parametrize(("cls", "environment"), [(IngressSettings, INGRESS), (WorkerSettings, WORKER)])
@pytest.mark.parametrize("emulator", sorted(EMULATORS))
def test_refuses_emulators_on_cloud_run(
    cls: type[Settings], environment: dict[str, str], variable: str, emulator: str
) -> None:
    text = problems(cls, environment | {variable: "x", emulator: EMULATORS[emulator]})

    (line,) = [line.strip() for line in text.splitlines() if "must not be set on Cloud Run" in line]
    assert line.startswith(emulator)
    assert EMULATORS[emulator] not in text


@pytest.mark.parametrize("variable", ["K_SERVICE", "CLOUD_RUN_WORKER_POOL"])
def test_names_both_emulators_together_with_what_else_is_wrong(variable: str) -> None:
    environment = INGRESS | EMULATORS | {variable: "x", "PORT": "no"}
    del environment["FORWARD_TOPIC"]

    text = problems(IngressSettings, environment)

    assert [name for name in (*EMULATORS, "PORT", "FORWARD_TOPIC") if name not in text] == []


def test_emulators_are_fine_elsewhere() -> None:
    settings = from_environment(IngressSettings, INGRESS | EMULATORS)

    assert (settings.spanner_emulator_host, settings.pubsub_emulator_host) == ("localhost:9010", "localhost:8085")


def test_cloud_run_is_told_by_its_own_variables_only() -> None:
    assert from_environment(IngressSettings, INGRESS | {"K_SERVICE": "x"}).on_cloud_run
    assert not from_environment(IngressSettings, INGRESS | {"ON_CLOUD_RUN_DERIVED": "1"}).on_cloud_run


@pytest.mark.parametrize("environment", [INGRESS, INGRESS | {"K_SERVICE": "x"}])
def test_that_cloud_run_has_checked_a_token_is_said_and_never_guessed(environment: dict[str, str]) -> None:
    assert not from_environment(IngressSettings, environment).trust_cloud_run_iam
    assert from_environment(IngressSettings, environment | {"TRUST_CLOUD_RUN_IAM": "true"}).trust_cloud_run_iam


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("false", False), ("1", True), ("0", False), ("no", False), ("TRUE", True)]
)
def test_booleans_are_read_as_people_write_them(text: str, value: bool) -> None:
    assert from_environment(IngressSettings, INGRESS | {"FORWARD_BY_DEFAULT": text}).forward_by_default is value


@pytest.mark.parametrize(
    "changes",
    [
        {"CLAIM_SECONDS": "44"},
        {"RETRY_BUDGET_SECONDS": "300"},
        {"STATSIG_TIMEOUT_SECONDS": "60"},
    ],
)
def test_a_claim_must_outlast_a_batch(changes: dict[str, str]) -> None:
    assert "CLAIM_SECONDS must be at least" in problems(WorkerSettings, WORKER | changes)


def test_a_claim_that_just_outlasts_a_batch_is_fine() -> None:
    assert from_environment(WorkerSettings, WORKER | {"CLAIM_SECONDS": "45"}).claim_seconds == 45


@pytest.mark.parametrize(
    "url", ["events.statsigapi.net", "ftp://x", "https://x/v1?k=canary", "https://x/#canary", "http://"]
)
def test_refuses_an_address_that_cannot_be_appended_to(url: str) -> None:
    text = problems(WorkerSettings, WORKER | {"STATSIG_API_URL": url})

    assert "STATSIG_API_URL" in text
    assert "canary" not in text


def test_the_tier_has_no_default() -> None:
    environment: dict[str, Any] = {name: value for name, value in WORKER.items() if name != "STATSIG_ENVIRONMENT"}

    assert "STATSIG_ENVIRONMENT must be set" in problems(WorkerSettings, environment)


@pytest.mark.parametrize(
    "variable",
    ["RECONCILE_AFTER_SECONDS", "RECONCILE_INTERVAL_SECONDS", "RECONCILE_EVENTS_PER_SECOND", "CIRCUIT_PROBE_SECONDS"],
)
@pytest.mark.parametrize("value", ["inf", "nan", "-inf"])
def test_refuses_numbers_that_are_none(variable: str, value: str) -> None:
    assert variable in problems(WorkerSettings, WORKER | {variable: value})
