"""Serves the bench's servers, except the ingress, with uvicorn on uvloop."""

import os
from collections.abc import Callable
from typing import Any

import uvicorn

BACKLOG = 2048
"""The ingress's own: 128 connections come at once."""


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
