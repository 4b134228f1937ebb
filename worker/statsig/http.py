"""What of the SDK's HTTP module is replaced: its sessions, its JSON and its compression. For statsig 0.72.1.

No option of the SDK reaches any of them; the module's own names are the narrowest seam. Where a later SDK makes them
elsewhere, the contract test fails.
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
from worker.statsig.outcome import AnswerSaysNoError

_COMPRESSION: Final = 1
"""The fastest: a third of the time of the SDK's 9, for a request that is an eighth larger."""


MAX_ANSWER_BYTES: Final = 4096
"""Of a refusal. What is longer, or of unknown length, is not waited for."""


class _HonestSession(requests.Session):
    """What the SDK's own session lets pass as a success, and is none; and the words of a refusal."""

    def __init__(self) -> None:
        super().__init__()
        self.max_redirects = 0  # raises TooManyRedirects on the first one, before it is followed

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        response = super().request(*args, **kwargs)
        if response.ok:
            # The SDK reads the body itself, past requests, and looks only whether it is JSON.
            body = response.raw.read(decode_content=False)
            if _says_no(body):
                raise AnswerSaysNoError(response=response)
            response.raw = BytesIO(body)
        elif response.status_code < requests.codes.server_error:
            _read_refusal(response)
        return response


def _read_refusal(response: requests.Response) -> None:
    """Have `response.content` hold what a refusal says, or nothing: it only informs, and decides nothing."""
    length = response.headers.get("Content-Length", "")
    body = b""
    if length.isascii() and length.isdigit() and int(length) <= MAX_ANSWER_BYTES:
        with suppress(urllib3.exceptions.HTTPError, OSError):  # cut off, or late: the status has come all the same
            body = response.raw.read(decode_content=True)
    else:
        response.raw.close()
    response.raw = BytesIO(body)
    _ = response.content  # keeps it: the SDK closes the response before anybody looks


def _says_no(body: bytes) -> bool:
    try:
        answer = json.loads(body)
    except ValueError:
        return False  # compressed, or none at all: the SDK's own reading decides
    return isinstance(answer, dict) and answer.get("success") is False


def replace_http_parts() -> None:
    """Make the SDK's HTTP module, and nobody else in the process, use ours.

    Left alone its sessions follow a 302 by a GET without the body but with our key, and the callback then sees a plain
    202; and `202 {"success": false}` is one too: losses that look confirmed.
    """
    replaced: dict[str, tuple[ModuleType, dict[str, Any]]] = {
        "requests": (requests, {"Session": _HonestSession}),
        "json": (json, {"dumps": lambda value: to_json(value).decode()}),
        "gzip": (gzip, {"GzipFile": partial(gzip.GzipFile, compresslevel=_COMPRESSION)}),
    }
    for name, (module, ours) in replaced.items():
        setattr(http_worker, name, SimpleNamespace(**{**vars(module), **ours}))
