"""What lies of erased events where no command of ours deletes, and what to do there. Names no actor; pure."""

from datetime import UTC, datetime

_STATSIG = """\
It confirmed up to {delivered} of these events, and may have others whose attempts had no clear answer. All are \
logged for the userID of the worker's STATSIG_PRINCIPAL, with the actor in the metadata `actor_id`. Statsig's \
API for user data deletion takes a userID alone: it would delete every event of this service. Ask Statsig's \
support to delete the events with this `actor_id`."""

_BIGQUERY = """\
Exported rows stay. Once the export has no delay, with the actor's id for ACTOR: bq query \
--use_legacy_sql=false --parameter=actor::ACTOR --parameter=before:TIMESTAMP:'{before}' 'DELETE FROM \
nest.nest_event_log WHERE actor_id = @actor AND ingested_at < @before'"""

_SPANNER = """\
Its backups have the rows until they expire (backup_retention_days, 14 by default), its old versions for an \
hour, and the change stream of the export for 7 days. After a restore, erase again."""

_PUBSUB = """\
Messages of these events may still lie in the topics. Workers ack them without sending them; others expire \
after 7 days."""

_LOGGING = "Nothing: log lines and traces name no actor."


def elsewhere(*, delivered: int, before: datetime) -> dict[str, str]:
    """By place. `delivered` is how many events Statsig may have confirmed; `before` the end of what was erased."""
    return {
        "Statsig": _STATSIG.format(delivered=delivered),
        "BigQuery": _BIGQUERY.format(before=f"{before.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}+00"),
        "Spanner": _SPANNER,
        "Pub/Sub": _PUBSUB,
        "Cloud Logging": _LOGGING,
    }
