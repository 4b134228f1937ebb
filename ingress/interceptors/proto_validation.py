"""ProtoValidationInterceptor: the rules that proto/ declares, before any of our code sees a request."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from connectrpc.request import RequestContext

from ingress.validation import validate

REQ = TypeVar("REQ")
RES = TypeVar("RES")


class ProtoValidationInterceptor:
    async def intercept_unary(
        self,
        call_next: Callable[[REQ, RequestContext[Any, Any]], Awaitable[RES]],
        request: REQ,
        ctx: RequestContext[Any, Any],
        /,
    ) -> RES:
        message: Any = request
        validate(message)
        return await call_next(request, ctx)
