"""How every server of the bench but the ingress is served: as it is, by uvicorn on uvloop."""

import os
from collections.abc import Callable
from typing import Any

import uvicorn

BACKLOG = 2048
"""As the ingress has it: 128 connections come at once."""


def serve(app: Callable[..., Any]) -> None:
    """Serve the ASGI application on PORT until killed."""
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        access_log=False,
        log_level="warning",
        loop="uvloop",
        http="httptools",
        backlog=BACKLOG,
    )
