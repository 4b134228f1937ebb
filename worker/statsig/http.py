"""Replaces the sessions, the JSON and the compression of the SDK's HTTP module. For statsig 0.72.1.

No option of the SDK reaches them; the names that the module imports are the narrowest seam. If a later SDK uses others,
the contract test fails.
"""

import gzip
import json
from contextlib import suppress
from functools import partial
from io import BytesIO
from types import ModuleType, SimpleNamespace
from typing import Any, Final

import requests
import urllib3.exceptions
from statsig import http_worker

from worker.statsig.json import to_json
from worker.statsig.outcome import SuccessFalseError

_COMPRESSION_LEVEL: Final = 1
"""The fastest: a third of the time of the SDK's 9, for a request that is an eighth larger."""

MAX_ANSWER_BYTES: Final = 4096
"""The longest refusal that is read. A longer one, or one of unknown length, is dropped unread."""


class _StrictSession(requests.Session):
    """Raises for answers that the SDK would take for a success although they are none, and reads refusals."""

    def __init__(self) -> None:
        super().__init__()
        self.max_redirects = 0  # TooManyRedirects at the first one, before it is followed

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        response = super().request(*args, **kwargs)
        if response.ok:
            # The SDK reads the body from `raw`, and checks only that it is JSON.
            body = response.raw.read(decode_content=False)
            if _is_success_false(body):
                raise SuccessFalseError(response=response)
            response.raw = BytesIO(body)
        elif response.status_code < requests.codes.server_error:
            _read_refusal(response)
        return response


def _read_refusal(response: requests.Response) -> None:
    """Make `response.content` the refusal's body, or empty. It is informative only, and decides nothing."""
    length = response.headers.get("Content-Length", "")
    body = b""
    if length.isascii() and length.isdigit() and int(length) <= MAX_ANSWER_BYTES:
        with suppress(urllib3.exceptions.HTTPError, OSError):  # cut off or late: the status has arrived anyway
            body = response.raw.read(decode_content=True)
    else:
        response.raw.close()
    response.raw = BytesIO(body)
    _ = response.content  # caches it: the SDK closes the response before the callback


def _is_success_false(body: bytes) -> bool:
    try:
        answer = json.loads(body)
    except ValueError:
        return False  # compressed or absent: the SDK's own parsing decides
    return isinstance(answer, dict) and answer.get("success") is False


def replace_http_parts() -> None:
    """Replace them in the SDK's HTTP module, and nowhere else in the process. Idempotent.

    The SDK's own sessions follow a 302 by a GET without the body but with the key, and the callback then gets a plain
    202. It also gets one for `202 {"success": false}`. Both are losses that look confirmed.
    """
    replaced: dict[str, tuple[ModuleType, dict[str, Any]]] = {
        "requests": (requests, {"Session": _StrictSession}),
        "json": (json, {"dumps": lambda value: to_json(value).decode()}),
        "gzip": (gzip, {"GzipFile": partial(gzip.GzipFile, compresslevel=_COMPRESSION_LEVEL)}),
    }
    for name, (module, replacements) in replaced.items():
        setattr(http_worker, name, SimpleNamespace(**{**vars(module), **replacements}))
