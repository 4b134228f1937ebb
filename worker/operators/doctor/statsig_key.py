"""Asks Statsig whether it accepts our key, with a request that carries no event, so nothing is billed."""

from functools import partial
from typing import Final

import anyio
import requests

from worker.operators.doctor.findings import Finding, FindingLevel

# Together they stay below the time that a check has: the waiting thread cannot be cancelled.
CONNECT_SECONDS: Final = 2.0
READ_SECONDS: Final = 2.5

SUBJECT: Final = "statsig key"

_REFUSED: Final = (requests.codes.unauthorized, requests.codes.forbidden)


async def statsig_findings(api_url: str, secret: str | None) -> list[Finding]:
    """Findings on the address and on the key. The key is sent only where it has the form of a server secret.

    Blocks a worker thread for up to CONNECT_SECONDS + READ_SECONDS.

    Raises:
        OSError: the address does not answer, or is unusable (requests' errors are OSErrors).
    """
    usable = secret if secret is not None and _is_usable(secret) else None
    ask = partial(
        requests.post,
        f"{api_url.rstrip('/')}/log_event",
        json={"events": []},
        headers={} if usable is None else {"STATSIG-API-KEY": usable},
        timeout=(CONNECT_SECONDS, READ_SECONDS),
        allow_redirects=False,  # a redirect would take the key elsewhere
    )
    answer = await anyio.to_thread.run_sync(ask, abandon_on_cancel=True)
    findings = [Finding("statsig", FindingLevel.OK, "answers; no event was sent")]
    if secret is None:
        return [*findings, Finding(SUBJECT, FindingLevel.UNSEEN, "STATSIG_SERVER_SECRET is not set here")]
    if usable is None:
        to_do = "take the server secret from the Statsig console: it begins with secret-"
        return [*findings, Finding(SUBJECT, FindingLevel.WRONG, "is not a server secret", to_do)]
    return [*findings, _finding_on_key(answer.status_code)]


def _is_usable(secret: str) -> bool:
    """Whether it has the form of a server secret and fits into a header: a typographic quote is easily pasted in."""
    return secret.startswith("secret-") and secret.isascii() and secret.isprintable()


def _finding_on_key(status: int) -> Finding:
    if status in _REFUSED:
        return Finding(
            SUBJECT,
            FindingLevel.WRONG,
            f"Statsig refuses it ({status})",
            "take a valid server secret from the Statsig console",
        )
    if requests.codes.ok <= status < requests.codes.multiple_choices:
        return Finding(SUBJECT, FindingLevel.OK, f"Statsig accepts it ({status} to a request without events)")
    return Finding(
        SUBJECT,
        FindingLevel.UNSEEN,
        f"Statsig answers {status} to a request without events, which does not show whether it accepts the key",
        "look for statsig_refuses_us in the worker's log",
    )
