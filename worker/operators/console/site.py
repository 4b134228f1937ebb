"""What every page has: connections, kept answers, replays, tails, templates and the keys."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from anyio.abc import TaskGroup

from shared.errors import EventLoggingError
from shared.events.accounting import HourlyAccount
from worker.operators.connections import Connections
from worker.operators.console.charts import first_hour
from worker.operators.console.kept import Keeper
from worker.operators.console.rendering import Pages
from worker.operators.console.replays import Replays
from worker.operators.console.security import Keys
from worker.operators.console.tails import Tails
from worker.operators.failure_reasons import explained
from worker.operators.state.asking import Unknown
from worker.operators.state.snapshot import Snapshot, take_snapshot

SNAPSHOT_SECONDS: Final = 3.0
"""How long a snapshot is kept. Pages are refreshed every four seconds, and processes report every ten."""

ACCOUNT_SECONDS: Final = 30.0
"""How long the account is kept. It reads every event of a day, and only its last hour changes much."""

ACCOUNT_HOURS: Final = 24


@dataclass(frozen=True, slots=True)
class DayAccount:
    """The account of the last ACCOUNT_HOURS hours, up to `until`."""

    hours: Sequence[HourlyAccount]
    """Only those with events."""

    until: datetime


@dataclass(frozen=True, slots=True)
class Site:
    connections: Connections
    keys: Keys
    pages: Pages
    replays: Replays
    tails: Tails
    snapshot: Keeper[Snapshot]
    account: Keeper[DayAccount | Unknown]


def site_of(connections: Connections, keys: Keys, tasks: TaskGroup) -> Site:
    """The site on these connections; what it does in the background ends with the tasks."""

    async def snapshot() -> Snapshot:
        return await take_snapshot(connections)

    async def account() -> DayAccount | Unknown:
        try:
            until = await connections.accounting.now()
            since = first_hour(until, ACCOUNT_HOURS)
            return DayAccount(await connections.accounting.per_hour(since=since, until=until), until)
        except EventLoggingError as error:
            return Unknown(explained(error, connections.settings))

    return Site(
        connections,
        keys,
        Pages(place=_place(connections), form_token=keys.form),
        Replays(connections, tasks),
        Tails(connections),
        Keeper(tasks, snapshot, seconds=SNAPSHOT_SECONDS),
        Keeper(tasks, account, seconds=ACCOUNT_SECONDS),
    )


def _place(connections: Connections) -> str:
    """Which service this is, so that nobody takes one for another."""
    settings = connections.settings
    where = "emulator" if settings.spanner_emulator_host is not None else settings.google_cloud_project
    return f"{where}: {settings.spanner_instance}/{settings.spanner_database}"
