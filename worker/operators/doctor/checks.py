"""The checks of `doctor`. They run side by side, and one that fails or hangs stops no other."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import anyio
from google.api_core import exceptions as google

from shared.cancellation import anyio_cancellation
from shared.errors import EventLoggingError, SchemaMismatchError
from shared.pubsub import subscription_path, topic_path
from shared.spanner.schema import check_schema
from worker.operators.connections import Connections
from worker.operators.doctor.findings import (
    MAX_CLOCK_SKEW,
    Finding,
    FindingLevel,
    dead_letter_problems,
    findings_from,
    forward_problems,
)
from worker.operators.doctor.flow import flow_findings
from worker.operators.doctor.statsig_key import statsig_findings
from worker.operators.failure_reasons import address, explained
from worker.operators.state.asking import Unknown
from worker.operators.state.backlog import Backlog
from worker.operators.state.snapshot import take_snapshot

CALL_SECONDS: Final = 5.0
"""For one call of a check; a whole check has a second more."""

SPANNER: Final = "spanner"

_UNCHECKED_GRANT: Final = "not checked: this is an emulator, or the topic or subscription does not exist"

Check = Callable[[], Awaitable[list[Finding]]]


async def examine(connections: Connections) -> list[Finding]:
    """All findings, in a fixed order, within about six seconds."""
    found: dict[int, list[Finding]] = {}

    async def run(number: int, subject: str, check: Check) -> None:
        found[number] = await _unless_it_fails(subject, check, connections)

    async with anyio.create_task_group() as tasks:
        for number, (subject, check) in enumerate(_checks(connections)):
            tasks.start_soon(run, number, subject, check)
    findings = [
        Finding("settings", FindingLevel.OK, "complete"),  # else the command had ended before this
        *(each for number in sorted(found) for each in found[number]),
    ]
    return [_without_repetition(each, findings) for each in findings]


def _checks(connections: Connections) -> list[tuple[str, Check]]:
    """Each check with the subject of the finding that reports its failure."""
    settings = connections.settings
    topics = {name: topic_path(settings, getattr(settings, name)) for name in ("forward_topic", "dead_letter_topic")}
    forward = subscription_path(settings, settings.forward_subscription)
    dead = subscription_path(settings, settings.dead_letter_subscription)
    of_forward = partial(forward_problems, topic=topics["forward_topic"], dead_letter_topic=topics["dead_letter_topic"])
    of_dead = partial(dead_letter_problems, topic=topics["dead_letter_topic"])
    return [
        (SPANNER, partial(_spanner, connections)),
        ("schema", partial(_schema, connections)),
        ("shards", partial(_shards, connections)),
        *((name.replace("_", " "), partial(_topic, connections, name, path)) for name, path in topics.items()),
        *(
            (subject, partial(_subscription, connections, subject, path, problems))
            for subject, path, problems in (
                ("forward subscription", forward, of_forward),
                ("dead-letter subscription", dead, of_dead),
            )
        ),
        (
            "grant to publish",
            partial(_grant, connections.publisher_client, topics["forward_topic"], "pubsub.topics.publish"),
        ),
        ("flow", partial(_flow, connections)),
        ("statsig", partial(_statsig, connections)),
    ]


def _without_repetition(finding: Finding, findings: Iterable[Finding]) -> Finding:
    """The finding, referring to Spanner's where it repeats that Spanner does not answer."""
    repeated = {str(Unknown(each.detail)) for each in findings if each.subject == SPANNER}
    return replace(finding, detail=f"not known: see {SPANNER}") if finding.detail in repeated else finding


async def _unless_it_fails(subject: str, check: Check, connections: Connections) -> list[Finding]:
    try:
        with anyio.fail_after(CALL_SECONDS + 1):
            async with anyio_cancellation():
                return await check()
    except (EventLoggingError, google.GoogleAPICallError, google.RetryError, OSError) as error:
        return [_failed(subject, error, connections)]


def _failed(subject: str, error: Exception, connections: Connections) -> Finding:
    match error:
        case SchemaMismatchError():
            return Finding(subject, FindingLevel.WRONG, str(error), "apply them, or go back to the previous version")
        case EventLoggingError() if subject == SPANNER:
            why = explained(error, connections.settings)
            return Finding(subject, FindingLevel.WRONG, why, "check that it runs and that this identity has access")
        case EventLoggingError():
            return Finding(subject, FindingLevel.UNSEEN, str(Unknown(explained(error, connections.settings))))
        case google.NotFound():
            return Finding(subject, FindingLevel.WRONG, "does not exist", "check the settings; deploy/ creates it")
        case google.Forbidden() | google.Unauthenticated():
            detail = "this identity may not see it"
            return Finding(subject, FindingLevel.UNSEEN, detail, "grant the identity roles/pubsub.viewer")
        case _:
            what = address(subject, connections.settings)
            detail = f"{what} does not answer ({type(error).__name__})"
            return Finding(subject, FindingLevel.WRONG, detail, "check that it runs and is reachable")


async def _spanner(connections: Connections) -> list[Finding]:
    before = datetime.now(UTC)
    at_spanner = await Backlog(connections.database, shards=connections.settings.forward_shards).now()
    after = datetime.now(UTC)
    spanner = Finding(SPANNER, FindingLevel.OK, f"answers in {(after - before).total_seconds() * 1000:.0f} ms")
    skew = max(before - at_spanner, at_spanner - after)
    if skew > MAX_CLOCK_SKEW:
        detail = f"{skew.total_seconds():.0f} s off Spanner's clock"
        return [spanner, Finding("clock", FindingLevel.WRONG, detail, "set this machine's clock")]
    return [spanner, Finding("clock", FindingLevel.OK, "agrees with Spanner's")]


async def _schema(connections: Connections) -> list[Finding]:
    await check_schema(connections.database, timeout_seconds=CALL_SECONDS)
    return [Finding("schema", FindingLevel.OK, "has every table and column")]


async def _shards(connections: Connections) -> list[Finding]:
    shards = connections.settings.forward_shards
    beyond = await Backlog(connections.database, shards=shards).pending_shards_beyond()
    if not beyond:
        return [Finding("shards", FindingLevel.OK, f"no event is pending beyond FORWARD_SHARDS={shards}")]
    detail = f"events are pending in {_listed(beyond)}, where no worker looks while FORWARD_SHARDS is {shards}"
    return [Finding("shards", FindingLevel.WRONG, detail, f"set FORWARD_SHARDS to {beyond[-1] + 1} for all processes")]


def _listed(shards: list[int]) -> str:
    first = ", ".join(map(str, shards[:5]))
    return f"shard {first}" if len(shards) == 1 else f"{len(shards)} shards ({first}{', ...' if shards[5:] else ''})"


async def _topic(connections: Connections, name: str, path: str) -> list[Finding]:
    await connections.publisher_client.get_topic(topic=path, retry=None, timeout=CALL_SECONDS)
    return [Finding(name.replace("_", " "), FindingLevel.OK, "exists")]


async def _subscription(connections: Connections, subject: str, path: str, problems: Any) -> list[Finding]:
    found = await connections.subscriber_client.get_subscription(subscription=path, retry=None, timeout=CALL_SECONDS)
    return findings_from(subject, problems(found), if_none="exists, with the right settings")


async def _grant(client: Any, path: str, permission: str) -> list[Finding]:
    subject = "grant to publish"
    try:
        answer = await client.test_iam_permissions(
            {"resource": path, "permissions": [permission]}, timeout=CALL_SECONDS
        )
    except (google.MethodNotImplemented, google.NotFound, google.InvalidArgument):
        return [Finding(subject, FindingLevel.UNSEEN, _UNCHECKED_GRANT)]
    if permission in answer.permissions:
        return [Finding(subject, FindingLevel.OK, permission)]
    return [Finding(subject, FindingLevel.WRONG, f"lacks {permission}", f"grant it on {path}")]


async def _flow(connections: Connections) -> list[Finding]:
    return flow_findings(await take_snapshot(connections))


async def _statsig(connections: Connections) -> list[Finding]:
    settings = connections.settings
    secret = settings.statsig_server_secret
    return await statsig_findings(settings.statsig_api_url, None if secret is None else secret.get_secret_value())
