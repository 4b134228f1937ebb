"""Why a dependency did not answer, in one line that names it and the settings that point to it; pure."""

from typing import Final

from google.api_core import exceptions as google

from shared.errors import (
    EventLoggingError,
    PublishFailedError,
    SchemaMismatchError,
    SettingsError,
    StorageRejectedError,
    StorageUnavailableError,
    SubscriptionUnavailableError,
)
from shared.process.settings import OperatorSettings
from worker.operators.exit_codes import UnknownError, UsageError

_SELF_EXPLAINING: Final = (SettingsError, UsageError, UnknownError, SchemaMismatchError)

_SPANNER: Final = (StorageUnavailableError, StorageRejectedError)
_PUBSUB: Final = (PublishFailedError, SubscriptionUnavailableError)

_FORBIDDEN: Final = (google.Forbidden, google.Unauthenticated)
_UNREACHED: Final = (google.ServiceUnavailable, google.RetryError, google.DeadlineExceeded, TimeoutError)


def explained(error: EventLoggingError, settings: OperatorSettings) -> str:
    """What failed, and where to look. Errors that explain themselves are returned as they are."""
    if isinstance(error, _SELF_EXPLAINING) or not isinstance(error, (*_SPANNER, *_PUBSUB)):
        return str(error)
    cause = error.__cause__
    place = _spanner(settings) if isinstance(error, _SPANNER) else _pubsub(settings)
    if isinstance(cause, google.NotFound):
        return _missing(error, str(cause.message), settings)
    if isinstance(cause, _FORBIDDEN):
        return f"{error}: access is denied to this identity ({place})"
    if isinstance(cause, _UNREACHED):
        return f"{error}: it cannot be reached ({place})"
    if isinstance(error, StorageRejectedError):
        return f"{error}: the schema may not be this version's; `nest-events doctor` compares it ({place})"
    return f"{error} ({place})"


def address(subject: str, settings: OperatorSettings) -> str:
    """The dependency that a check of `doctor` asked, Statsig or Pub/Sub, with the setting that points to it."""
    if subject == "statsig":
        return f"Statsig (STATSIG_API_URL={settings.statsig_api_url})"
    return f"Pub/Sub ({_pubsub(settings)})"


def _missing(error: EventLoggingError, answer: str, settings: OperatorSettings) -> str:
    """Which name does not exist, as far as the NOT_FOUND answer shows it."""
    if isinstance(error, _PUBSUB):
        return f"a topic or subscription does not exist; `nest-events doctor` shows which: {answer}"
    if "Instance not found" in answer:
        return f"the Spanner instance {settings.spanner_instance} does not exist ({_spanner(settings)})"
    if "Database not found" in answer:
        return f"the Spanner database {settings.spanner_database} does not exist ({_spanner(settings)})"
    return f"Spanner lacks something that was asked for; `nest-events doctor` compares the schema: {answer}"


def _spanner(settings: OperatorSettings) -> str:
    if settings.spanner_emulator_host is not None:
        names = f"{settings.spanner_instance}/{settings.spanner_database}"
        return f"SPANNER_EMULATOR_HOST={settings.spanner_emulator_host}, {names}"
    return (
        f"GOOGLE_CLOUD_PROJECT={settings.google_cloud_project}, SPANNER_INSTANCE={settings.spanner_instance}, "
        f"SPANNER_DATABASE={settings.spanner_database}"
    )


def _pubsub(settings: OperatorSettings) -> str:
    if settings.pubsub_emulator_host is not None:
        return f"PUBSUB_EMULATOR_HOST={settings.pubsub_emulator_host}"
    return f"GOOGLE_CLOUD_PROJECT={settings.google_cloud_project}"
