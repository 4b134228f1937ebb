"""The two callers: the ingress distinguishes them by unverified tokens."""

import base64
import json
from collections.abc import Mapping
from typing import Final


def _as(email: str) -> dict[str, str]:
    def part(of: dict[str, str]) -> str:
        return base64.urlsafe_b64encode(json.dumps(of).encode()).decode().rstrip("=")

    token = f"{part({'alg': 'none'})}.{part({'email': email})}.SIGNATURE_REMOVED_BY_GOOGLE"
    return {"authorization": f"Bearer {token}", "content-type": "application/json"}


POLITE: Final[Mapping[str, str]] = _as("polite@example.com")
FLOOD: Final[Mapping[str, str]] = _as("flood@example.com")
