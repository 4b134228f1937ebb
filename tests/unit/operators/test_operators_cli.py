"""`nest-events` as it is typed: help under both option names, the version, and the exit code of each error."""

from dataclasses import fields
from importlib.metadata import version

import pytest
import typer
from google.api_core import exceptions as google
from typer.core import TyperGroup
from typer.testing import CliRunner

from shared.errors import (
    EventLoggingError,
    PublishFailedError,
    StorageRejectedError,
    StorageUnavailableError,
    SubscriptionUnavailableError,
)
from shared.process.settings import OperatorSettings
from worker.operators.cli import app
from worker.operators.dead_letters.filters import Filters
from worker.operators.exit_codes import OutputFailedError, UnknownError, UsageError
from worker.operators.failure_reasons import explained
from worker.operators.run_command import failed

SETTINGS = OperatorSettings.model_validate(
    {
        "GOOGLE_CLOUD_PROJECT": "my-project",
        "SPANNER_INSTANCE": "my-instance",
        "SPANNER_DATABASE": "my-database",
        "FORWARD_TOPIC": "f",
        "FORWARD_SUBSCRIPTION": "f",
        "DEAD_LETTER_TOPIC": "d",
        "DEAD_LETTER_SUBSCRIPTION": "d",
    }
)
EMULATED = SETTINGS.model_copy(
    update={"spanner_emulator_host": "127.0.0.1:9010", "pubsub_emulator_host": "127.0.0.1:8085"}
)


def paths(group: TyperGroup, *path: str) -> list[tuple[str, ...]]:
    """Every path that can be typed."""
    found: list[tuple[str, ...]] = [path]
    for name, command in group.commands.items():
        found += paths(command, *path, name) if isinstance(command, TyperGroup) else [(*path, name)]
    return found


def root() -> TyperGroup:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    return group


@pytest.mark.parametrize("path", paths(root()), ids=" ".join)
def test_help_has_two_names_and_is_whole(path: tuple[str, ...]) -> None:
    short, long = (CliRunner().invoke(app, [*path, name]) for name in ("-h", "--help"))

    assert (short.exit_code, short.output) == (0, long.output)
    assert "Usage: " in short.output
    assert "…" not in short.output
    assert not any(line.endswith("...") for line in short.output.partition("Commands:")[2].splitlines())


COMMANDS = [path for path in paths(root()) if path not in ((), ("dead-letters",), ("rules",))]


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_explains_itself_with_an_example_and_speaks_json(path: tuple[str, ...]) -> None:
    text = CliRunner().invoke(app, [*path, "--help"]).output

    assert f"\n  nest-events {' '.join(path)}" in text
    assert "--json" in text


def test_the_version_is_told_without_anything_else() -> None:
    ran = CliRunner().invoke(app, ["--version"])

    assert (ran.exit_code, ran.output) == (0, f"nest-events {version('event-logging')}\n")


def test_every_exit_code_is_documented() -> None:
    text = CliRunner().invoke(app, ["--help"]).output

    assert all(f"\n    {code:<5}" in text for code in (0, 1, 2, 3, 4, 70, 130))


def caused(error: EventLoggingError, cause: Exception) -> EventLoggingError:
    error.__cause__ = cause
    return error


SPANNER = StorageUnavailableError("Spanner is not available")
PUBSUB = SubscriptionUnavailableError("Pub/Sub did not take the pull")


@pytest.mark.parametrize(
    ("error", "cause", "says"),
    [
        (SPANNER, TimeoutError(), "reached (GOOGLE_CLOUD_PROJECT=my-project, SPANNER_INSTANCE=my-instance"),
        (SPANNER, google.ServiceUnavailable("no"), "it cannot be reached (GOOGLE_CLOUD_PROJECT=my-project"),
        (SPANNER, google.PermissionDenied("no"), "access is denied to this identity"),
        (SPANNER, google.NotFound("Database not found: x"), "the Spanner database my-database does not exist"),
        (SPANNER, google.NotFound("Instance not found: x"), "the Spanner instance my-instance does not exist"),
        (SPANNER, google.NotFound("Table not found: x"), "compares the schema: Table not found: x"),
        (StorageRejectedError("refused"), google.InvalidArgument("no"), "the schema may not be this version's"),
        (SPANNER, google.InternalServerError("no"), "Spanner is not available (GOOGLE_CLOUD_PROJECT=my-project"),
        (PUBSUB, google.PermissionDenied("no"), "access is denied to this identity"),
        (PUBSUB, google.NotFound("Subscription does not exist"), "a topic or subscription does not exist"),
        (PublishFailedError("no"), google.ServiceUnavailable("no"), "it cannot be reached (GOOGLE_CLOUD_PROJECT"),
    ],
)  # fmt: skip
def test_what_failed_is_one_line_that_names_the_dependency_and_the_setting(
    error: EventLoggingError, cause: Exception, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert failed(caused(error, cause), SETTINGS) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("nest-events: ")
    assert says in line


def test_an_emulator_is_named_by_its_setting() -> None:
    down = google.ServiceUnavailable("no")

    assert "SPANNER_EMULATOR_HOST=127.0.0.1:9010" in explained(caused(SPANNER, down), EMULATED)
    assert "PUBSUB_EMULATOR_HOST=127.0.0.1:8085" in explained(caused(PUBSUB, down), EMULATED)


@pytest.mark.parametrize(
    ("error", "code"),
    [(UsageError("wrong"), 2), (UnknownError("nothing of that name"), 1), (OutputFailedError("full"), 4)],
)
def test_what_explains_itself_is_told_as_it_is(
    error: EventLoggingError, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert failed(error, SETTINGS) == code
    assert capsys.readouterr().err == f"nest-events: {error}\n"


@pytest.mark.parametrize("command", ["list", "replay"])
def test_list_and_replay_take_the_same_filters(command: str) -> None:
    text = CliRunner().invoke(app, ["dead-letters", command, "--help"]).output

    for each in fields(Filters):
        assert f"--{each.name.replace('_', '-')} " in text
