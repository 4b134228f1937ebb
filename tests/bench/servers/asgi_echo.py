"""A limit: the server alone. Reads the body and answers a constant."""

import json
from typing import Any, Final

from tests.bench.servers.serving import serve

ANSWER: Final = json.dumps({"eventId": "0b7f1f5e-6b0e-4d5c-9a51-3c1c4a4a8f10"}).encode()
HEADERS: Final = [(b"content-type", b"application/json"), (b"content-length", str(len(ANSWER)).encode())]


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError  # uvicorn takes this for an application without lifespan
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": ANSWER})


if __name__ == "__main__":
    serve(app)
