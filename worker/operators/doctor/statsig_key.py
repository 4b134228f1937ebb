"""Whether Statsig takes our key, asked with a request that carries no event and so is billed as none."""

from functools import partial
from typing import Final

import anyio
import requests

from worker.operators.doctor.findings import Finding, FindingLevel

CONNECT_SECONDS: Final = 2.0
READ_SECONDS: Final = 2.5
"""Together less than the five seconds that a check is given: the thread that waits cannot be cancelled."""

SUBJECT: Final = "statsig key"

_REFUSED: Final = (requests.codes.unauthorized, requests.codes.forbidden)


async def statsig_findings(api_url: str, secret: str | None) -> list[Finding]:
    """Of the address and of the key, which is sent only where it has the form of a server secret.

    Raises:
        OSError: the address does not answer.
    """
    usable = secret if secret is not None and _is_usable(secret) else None
    ask = partial(
        requests.post,
        f"{api_url.rstrip('/')}/log_event",
        json={"events": []},
        headers={} if usable is None else {"STATSIG-API-KEY": usable},
        timeout=(CONNECT_SECONDS, READ_SECONDS),
        allow_redirects=False,  # the key would go along
    )
    answer = await anyio.to_thread.run_sync(ask, abandon_on_cancel=True)
    findings = [Finding("statsig", FindingLevel.OK, "answers; no event was sent")]
    if secret is None:
        return [*findings, Finding(SUBJECT, FindingLevel.UNSEEN, "STATSIG_SERVER_SECRET is not set here")]
    if usable is None:
        to_do = "server keys begin with secret-: take it from the Statsig console"
        return [*findings, Finding(SUBJECT, FindingLevel.WRONG, "is no server secret", to_do)]
    return [*findings, _judged(answer.status_code)]


def _is_usable(secret: str) -> bool:
    """Of the form of a server secret, and fit for a header: a typographic quote is easily pasted along."""
    return secret.startswith("secret-") and secret.isascii() and secret.isprintable()


def _judged(status: int) -> Finding:
    if status in _REFUSED:
        return Finding(
            SUBJECT,
            FindingLevel.WRONG,
            f"Statsig answers {status} to it",
            "take the server secret from the Statsig console",
        )
    if requests.codes.ok <= status < requests.codes.multiple_choices:
        return Finding(SUBJECT, FindingLevel.OK, f"Statsig takes it ({status} to a request without events)")
    return Finding(
        SUBJECT,
        FindingLevel.UNSEEN,
        f"Statsig answers {status} to a request without events, which tells nothing of the key",
        "the worker's log tells (statsig_refuses_us)",
    )
