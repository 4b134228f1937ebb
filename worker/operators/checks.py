"""The checks of `doctor`, each on its own: what one finds or fails at keeps no other from looking."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import anyio
from google.api_core import exceptions as google

from shared.cancellation import own_cancellation
from shared.errors import EventLoggingError
from shared.pubsub import subscription_path, topic_path
from shared.schema import check_schema
from shared.spanner import translated
from worker.operators.connections import Connections
from worker.operators.findings import (
    MAX_CLOCK_SKEW,
    Finding,
    Verdict,
    dead_letter_problems,
    forward_problems,
    judged,
)
from worker.operators.statsig_key import statsig_findings
from worker.operators.workers import worker_finding

CALL_SECONDS: Final = 5.0

_EMULATED: Final = "an emulator does not tell"


async def examine(connections: Connections) -> list[Finding]:
    """All findings, in a fixed order."""
    settings = connections.settings
    topics = {name: topic_path(settings, getattr(settings, name)) for name in ("forward_topic", "dead_letter_topic")}
    forward = subscription_path(settings, settings.forward_subscription)
    dead = subscription_path(settings, settings.dead_letter_subscription)
    checks: list[tuple[str, Callable[[], Awaitable[list[Finding]]]]] = [
        ("clock", partial(_clock, connections)),
        ("schema", partial(_schema, connections)),
        *((name.replace("_", " "), partial(_topic, connections, name, path)) for name, path in topics.items()),
        (
            "forward subscription",
            partial(
                _subscription,
                connections,
                "forward subscription",
                forward,
                partial(
                    forward_problems,
                    topic=topics["forward_topic"],
                    dead_letter_topic=topics["dead_letter_topic"],
                ),
            ),
        ),
        (
            "dead-letter subscription",
            partial(
                _subscription,
                connections,
                "dead-letter subscription",
                dead,
                partial(dead_letter_problems, topic=topics["dead_letter_topic"]),
            ),
        ),
        (
            "grant to publish",
            partial(_grant, connections.publisher_client, topics["forward_topic"], "pubsub.topics.publish"),
        ),
        ("grant to read", partial(_grant, connections.subscriber_client, dead, "pubsub.subscriptions.consume")),
        ("worker", partial(_worker, connections)),
        ("statsig", partial(_statsig, connections)),
    ]
    found: dict[int, list[Finding]] = {}

    async def run(number: int, subject: str, check: Callable[[], Awaitable[list[Finding]]]) -> None:
        found[number] = await _unless_it_fails(subject, check)

    async with anyio.create_task_group() as tasks:
        for number, (subject, check) in enumerate(checks):
            tasks.start_soon(run, number, subject, check)
    settings_read = Finding("settings", Verdict.OK, "complete")
    return [settings_read, *(finding for number in sorted(found) for finding in found[number])]


async def _unless_it_fails(subject: str, check: Callable[[], Awaitable[list[Finding]]]) -> list[Finding]:
    try:
        with anyio.fail_after(CALL_SECONDS + 1):
            async with own_cancellation():
                return await check()
    except EventLoggingError as error:
        return [Finding(subject, Verdict.WRONG, str(error), "is it up, and does this identity have access?")]
    except google.NotFound:
        return [Finding(subject, Verdict.WRONG, "does not exist", "check the settings; deploy/ creates it")]
    except (google.Forbidden, google.Unauthenticated):
        return [Finding(subject, Verdict.UNSEEN, "this identity may not look at it", "grant it roles/pubsub.viewer")]
    except (google.GoogleAPICallError, google.RetryError, TimeoutError, OSError) as error:
        return [Finding(subject, Verdict.WRONG, f"no answer ({type(error).__name__})", "is it up and reachable?")]


async def _clock(connections: Connections) -> list[Finding]:
    async with translated(CALL_SECONDS), connections.database.snapshot() as snapshot:
        before = datetime.now(UTC)
        (theirs,) = [row[0] async for row in await snapshot.execute_sql("SELECT CURRENT_TIMESTAMP()")]
        after = datetime.now(UTC)
    spanner = Finding("spanner", Verdict.OK, f"answers in {(after - before).total_seconds() * 1000:.0f} ms")
    skew = max(before - theirs, theirs - after)
    if skew > MAX_CLOCK_SKEW:
        return [
            spanner,
            Finding(
                "clock", Verdict.WRONG, f"{skew.total_seconds():.0f} s beside Spanner's", "set this machine's clock"
            ),
        ]
    return [spanner, Finding("clock", Verdict.OK, "as Spanner's")]


async def _schema(connections: Connections) -> list[Finding]:
    await check_schema(connections.database, timeout_seconds=CALL_SECONDS)
    return [Finding("schema", Verdict.OK, "has every table and column")]


async def _topic(connections: Connections, name: str, path: str) -> list[Finding]:
    await connections.publisher_client.get_topic(topic=path, retry=None, timeout=CALL_SECONDS)
    return [Finding(name.replace("_", " "), Verdict.OK, "exists")]


async def _subscription(connections: Connections, subject: str, path: str, problems: Any) -> list[Finding]:
    found = await connections.subscriber_client.get_subscription(subscription=path, retry=None, timeout=CALL_SECONDS)
    return judged(subject, problems(found), "exists, settings as they should be")


async def _grant(client: Any, path: str, permission: str) -> list[Finding]:
    subject = "grant to publish" if "publish" in permission else "grant to read"
    try:
        answer = await client.test_iam_permissions(
            {"resource": path, "permissions": [permission]}, timeout=CALL_SECONDS
        )
    except (google.MethodNotImplemented, google.NotFound, google.InvalidArgument):
        return [Finding(subject, Verdict.UNSEEN, _EMULATED)]
    if permission in answer.permissions:
        return [Finding(subject, Verdict.OK, permission)]
    return [Finding(subject, Verdict.WRONG, f"lacks {permission}", f"grant it on {path}")]


async def _worker(connections: Connections) -> list[Finding]:
    return [worker_finding(await connections.worker_states.seen())]


async def _statsig(connections: Connections) -> list[Finding]:
    settings = connections.settings
    secret = settings.statsig_server_secret
    return await statsig_findings(settings.statsig_api_url, None if secret is None else secret.get_secret_value())
